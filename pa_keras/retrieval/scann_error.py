"""How far an approximate search is from exact search, measured on a sample, with its bound."""

from dataclasses import asdict, dataclass

import numpy as np
from scipy.special import betaincinv

CONFIDENCE = 0.95
# Similarities of one pair, summed in two orders, differ by less.
TOLERANCE = 1e-5


@dataclass(frozen=True)
class SearchError:
    """What an approximate search changed against exact search; shares in [0, 1].

    Attributes:
        k: neighbours a query.
        sample_size: number of queries that were searched both ways.
        nearest: share of them whose nearest neighbour was missed.
        neighbours: share of all their k nearest neighbours that were missed.
        recalls: Recall@1 and Recall@k of the approximate search less those of the exact one, or
            None without labels.
        bound: at 95 % confidence, the recalls of all queries are moved by no more; without labels,
            no more of the nearest and of the k nearest neighbours of all queries are missed.
    """

    k: int
    sample_size: int
    nearest: float
    neighbours: float
    recalls: tuple[float, float] | None
    bound: float

    def as_json(self) -> dict:
        """Every number, ready for `json.dump`."""
        return {**asdict(self), "confidence": CONFIDENCE}

    def __str__(self) -> str:
        sample = f"{self.sample_size:,} queries that were also searched exactly"
        sure = f"at {CONFIDENCE:.0%} confidence"
        if self.recalls is None:
            return (
                f"missed {self.nearest:.2%} of the nearest and {self.neighbours:.2%} of all "
                f"neighbours of {sample}; {sure} at most {self.bound:.2%}"
            )
        at_1, at_k = (f"{100 * moved:+.2f}" for moved in self.recalls)
        return (
            f"moved Recall@1 by {at_1} and Recall@{self.k} by {at_k} points on {sample}; {sure} "
            f"by at most {100 * self.bound:.2f} points"
        )


def measure_error(
    similarities: np.ndarray,
    exact_similarities: np.ndarray,
    right: np.ndarray | None = None,
    exact_right: np.ndarray | None = None,
    tests: int = 1,
    whole: bool = False,
) -> SearchError:
    """The error of an approximate search on a sample of queries.

    With labels, a query counts as changed if it has a hit among its nearest, or its k nearest, by
    one search and not by the other. No recall can move by more than the share of changed queries,
    so that one bound on this share serves Recall@1 and Recall@k, losses and gains. Where neighbours
    tie at one similarity, any of them is a neighbour.

    Args:
        similarities: float (n, k), of the approximate search; NaN where it gave no answer.
        exact_similarities: float (n, k), of exact search.
        right: bool (n, k), which answers of the approximate search are right. Default None: there
            are no labels.
        exact_right: bool (n, k), which answers of exact search are.
        tests: number of searches of which the first that is good enough is taken. Each is held
            to a confidence so much higher that the choice keeps 95 %. Default 1.
        whole: the sample is all the queries, so that nothing is left to chance. Default False.

    Returns:
        The `SearchError`.

    Example:
        >>> error = measure_error(np.ones((3000, 1)), np.ones((3000, 1)))
        >>> error.nearest, round(error.bound, 4)
        (0.0, 0.001)

    Source: Clopper and Pearson, The Use of Confidence or Fiducial Limits, 1934.
    """
    size, k = similarities.shape
    missed_nearest = ~(similarities[:, 0] >= exact_similarities[:, 0] - TOLERANCE)
    missed = ~(similarities >= exact_similarities[:, -1:] - TOLERANCE)
    recalls: tuple[float, float] | None = None
    shares = [missed_nearest.mean(), missed.mean()]
    if right is not None and exact_right is not None:
        hits = np.stack([right[:, 0], right.any(axis=1)])
        exact_hits = np.stack([exact_right[:, 0], exact_right.any(axis=1)])
        nearest, any_of_k = map(float, hits.mean(axis=1) - exact_hits.mean(axis=1))
        recalls = (nearest, any_of_k)
        shares = [(hits != exact_hits).any(axis=0).mean()]
    worst = float(max(shares))
    return SearchError(
        k=k,
        sample_size=size,
        nearest=float(missed_nearest.mean()),
        neighbours=float(missed.mean()),
        recalls=recalls,
        bound=worst if whole else upper_bound(worst, size, 1 - (1 - CONFIDENCE) / tests),
    )


def upper_bound(share: float, size: int, confidence: float = CONFIDENCE) -> float:
    """The largest share of all that a share of a random sample speaks for (Clopper-Pearson).

    Args:
        share: mean over the sample of a yes or no, or of values in [0, 1]: those vary no more than
            a yes or no of their mean does, so that the bound is only wider than need be.
        size: size of the sample.
        confidence: one-sided, in (0, 1). Default 0.95.
    """
    count = share * size
    return 1.0 if count >= size else float(betaincinv(count + 1, size - count, confidence))
