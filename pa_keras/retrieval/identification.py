"""Open sets: queries whose class the gallery may not have, so that "no match" is a right answer."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pa_keras.arguments.class_ids import common_class_ids
from pa_keras.retrieval.bootstrap import bootstrap_interval
from pa_keras.retrieval.error_rates import (
    LEAST_CLASSES,
    LEAST_FALSE_MATCHES,
    curve_of,
    place_of_rate,
)
from pa_keras.retrieval.exact import without_own
from pa_keras.retrieval.relevance import num_relevant
from pa_keras.retrieval.search import search

AS_GIVEN = "queries without a mate as given"
LEFT_OUT = "half of the classes left out of the gallery"
FALSE_ALARM_RATES = (1e-1, 1e-2)


@dataclass(frozen=True, eq=False)
class OpenSet:
    """The nearest gallery image of each query, some of which have no mate in the gallery.

    Attributes:
        protocol: Which queries have no mate: `AS_GIVEN` or `LEFT_OUT`.
        cosines: Cosine of the nearest gallery image, float (Q,).
        right: Whether it is of the class of the query, bool (Q,).
        known: Whether the gallery has a mate, which is another image of the class, bool (Q,).
        labels: Class IDs of the queries, int (Q,).
        gallery_size: Number of gallery images.
    """

    protocol: str
    cosines: np.ndarray
    right: np.ndarray
    known: np.ndarray
    labels: np.ndarray
    gallery_size: int

    def as_json(self, threshold: float) -> dict:
        """The rates at a threshold, ready for `json.dump`.

            detection and identification rate = share of the queries with a mate whose nearest
                image is of their class and reaches the threshold
            false alarm rate = share of the queries without a mate whose nearest image reaches it

        Each has a 95 % bootstrap interval by class, from 10 classes on.
        """
        reached = self.cosines >= threshold
        rates: dict[str, float] = {}
        intervals: dict[str, list[float]] = {}
        for name, values, of in (
            ("detection_and_identification_rate", reached & self.right, self.known),
            ("false_alarm_rate", reached, ~self.known),
        ):
            rates[name] = float(values[of].mean())
            if len(np.unique(self.labels[of])) >= LEAST_CLASSES:
                intervals[name] = list(bootstrap_interval(values[of], self.labels[of]))
        return {
            "protocol": self.protocol,
            "threshold": threshold,
            "rates": rates,
            "intervals": intervals,
            "at_false_alarm_rates": self.at_false_alarm_rates(),
            "num_with_mate": int(self.known.sum()),
            "num_without_mate": int((~self.known).sum()),
            "gallery_size": self.gallery_size,
        }

    def at_false_alarm_rates(self) -> list[dict[str, float]]:
        """The threshold and the rate of identification at false alarm rates of 10 % and 1 %.

        Rates at which fewer than 10 false alarms are expected are left out.
        """
        # A query that is not identified at any threshold gets a cosine that none can reach.
        scores = np.where(self.right | ~self.known, self.cosines, -2).astype(np.float64)
        curve = curve_of(scores, self.known, ~self.known)
        rows = []
        for rate in FALSE_ALARM_RATES:
            place = place_of_rate(curve, rate)
            if place and rate * (~self.known).sum() >= LEAST_FALSE_MATCHES:
                rows.append(
                    {
                        "false_alarm_rate": rate,
                        "threshold": float(curve.thresholds[place]),
                        "detection_and_identification_rate": float(curve.true_match[place]),
                    }
                )
        return rows


def open_set(
    queries: npt.ArrayLike,
    query_labels: npt.ArrayLike,
    gallery: npt.ArrayLike | None = None,
    gallery_labels: npt.ArrayLike | None = None,
    seed: int = 0,
) -> OpenSet | None:
    """Searches the nearest image of each query, in a gallery that lacks some classes.

    If there is a gallery that lacks the classes of some queries, it is searched as it is. Otherwise
    a random half of the classes is left out of the gallery, and their queries have no mate. Without
    a gallery, the images of the other half are both, and a query does not find itself.

    Args:
        queries: Rows of unit length, floating (Q, D).
        query_labels: Class IDs or class names (Q,).
        gallery: Rows of unit length, floating (N, D). Default None: the queries.
        gallery_labels: The same (N,), given if and only if `gallery` is.
        seed: Seed of the half. Default 0.

    Returns:
        The nearest images; None if all queries have a mate, or none has one.

    Example:
        >>> points = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], "float32")
        >>> found = open_set(points, ["cat", "cat", "owl", "owl"], points[:2], ["cat", "cat"])
        >>> found.protocol, found.known.tolist(), found.cosines.tolist()
        ('queries without a mate as given', [True, True, False, False], [1.0, 1.0, 0.0, 0.0])
    """
    queries = np.asarray(queries, np.float32)
    searched = queries if gallery is None else np.asarray(gallery, np.float32)
    of_queries, of_gallery = common_class_ids(
        query_labels, query_labels if gallery is None else gallery_labels
    )
    as_given = gallery is not None and not num_relevant(of_queries, of_gallery).all()
    kept = np.ones(len(searched), bool)
    if not as_given:
        classes = np.unique(of_queries)
        half = np.random.default_rng([seed]).permutation(classes)[: len(classes) // 2]
        kept = ~np.isin(of_gallery, half)
    places = np.flatnonzero(kept)
    relevant = num_relevant(of_queries, of_gallery[places])
    if gallery is None:
        relevant = relevant - kept
        if len(places) > 1:
            found = search(queries, searched[places], 2, method="exact")
            own = np.where(kept, np.cumsum(kept) - 1, -1)
            nearest, cosines = without_own(found.indices, found.similarities, own)
    elif len(places):
        found = search(queries, searched[places], 1, method="exact")
        nearest, cosines = found.indices, found.similarities
    known = relevant > 0
    if known.all() or not known.any():
        return None
    return OpenSet(
        protocol=AS_GIVEN if as_given else LEFT_OUT,
        cosines=cosines[:, 0],
        right=of_gallery[places][nearest[:, 0]] == of_queries,
        known=known,
        labels=of_queries,
        gallery_size=len(places),
    )
