"""Choosing a cosine threshold on some classes, and measuring how well it works on others."""

from dataclasses import dataclass

import numpy as np

from pa_keras.retrieval.error_rates import (
    PairRates,
    expect_enough_pairs,
    expect_rate,
    pair_rates,
)
from pa_keras.retrieval.identification import OpenSet, open_set
from pa_keras.retrieval.pair_counts import as_pairs

HELD_OUT = "held-out classes"
TEST_HALF = "half of the test classes"


@dataclass(frozen=True, eq=False)
class Embedded:
    """Embeddings with their class IDs.

    Attributes:
        queries: Unit rows, float32 (Q, D).
        query_labels: Class IDs, int (Q,).
        gallery: Unit rows, float32 (N, D). None: the queries are the gallery.
        gallery_labels: Class IDs, int (N,), or None.
    """

    queries: np.ndarray
    query_labels: np.ndarray
    gallery: np.ndarray | None = None
    gallery_labels: np.ndarray | None = None

    def of_classes(self, classes: np.ndarray) -> "Embedded":
        """The images of some classes."""
        mine = np.isin(self.query_labels, classes)
        if self.gallery is None or self.gallery_labels is None:
            return Embedded(self.queries[mine], self.query_labels[mine])
        others = np.isin(self.gallery_labels, classes)
        return Embedded(
            self.queries[mine],
            self.query_labels[mine],
            self.gallery[others],
            self.gallery_labels[others],
        )

    def parts(
        self,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
        """The four arrays, as arguments."""
        return self.queries, self.query_labels, self.gallery, self.gallery_labels


@dataclass(frozen=True, eq=False)
class Thresholds:
    """A threshold, and the error rates on the classes it was chosen on and on the test classes.

    Attributes:
        wanted: The wanted false match rate.
        chosen_on: Kind of the classes that it was chosen on: `HELD_OUT` or `TEST_HALF`.
        chosen: Rates on these classes.
        test: Rates on the test classes, or on their other half.
        identification: Search in an open set of the same test classes; None if it is not open.
    """

    wanted: float
    chosen_on: str
    chosen: PairRates
    test: PairRates
    identification: OpenSet | None

    @property
    def threshold(self) -> float:
        """The least cosine of a match."""
        return self.chosen.threshold

    def sets(self) -> dict[str, PairRates]:
        """The rates by the classes that they are measured on, for a table or a picture."""
        other = "test classes" if self.chosen_on == HELD_OUT else "other test classes"
        first = self.chosen_on if self.chosen_on == HELD_OUT else "test classes"
        return {
            f"{self.chosen.num_classes} {first}": self.chosen,
            f"{self.test.num_classes} {other}": self.test,
        }

    def as_json(self) -> dict:
        """All numbers except the curves, ready for `json.dump`."""
        found = self.identification
        return {
            "wanted_false_match_rate": self.wanted,
            "threshold": self.threshold,
            "threshold_interval": self.chosen.as_json()["intervals"].get("threshold"),
            "chosen_on": self.chosen_on,
            "chosen": self.chosen.as_json(),
            "test": self.test.as_json(),
            "open_set": None if found is None else found.as_json(self.threshold),
        }

    def as_table(self) -> str:
        """The threshold, a table of the rates on both sets, and those of the open set."""
        interval = self.chosen.intervals.get("threshold")
        within = f" ({interval[0]:.4f} - {interval[1]:.4f})" if interval else ""
        lines = [
            f"Match if the cosine is {self.threshold:.4f}{within} or more: chosen for a false "
            f"match rate of {100 * self.wanted:g} % on {next(iter(self.sets()))}",
            f"{'over pairs, %':<22}" + "".join(f"{name:<32}" for name in self.sets()),
        ]
        for name in self.chosen.rates:
            cells = "".join(f"{_cell(each, name):<32}" for each in self.sets().values())
            lines.append(f"{name:<22}{cells}".rstrip())
        pairs = [f"{each.num_same:,} and {each.num_different:,}" for each in self.sets().values()]
        lines.append(f"{'pairs of 1, 2 classes':<22}" + "".join(f"{each:<32}" for each in pairs))
        return "\n".join([line.rstrip() for line in lines] + self._open_set_lines())

    def _open_set_lines(self) -> list[str]:
        if self.identification is None:
            return []
        found = self.identification.as_json(self.threshold)
        rates = found["rates"]
        lines = [
            f"Open set, {found['protocol']}: {found['gallery_size']:,} gallery images; "
            f"{found['num_with_mate']:,} queries have a mate there, {found['num_without_mate']:,} "
            "have none",
            f"at {self.threshold:.4f}, %: detection and identification rate "
            f"{100 * rates['detection_and_identification_rate']:.2f}, false alarm rate "
            f"{100 * rates['false_alarm_rate']:.2f}",
        ]
        return lines + [
            f"at {row['threshold']:.4f}, %: detection and identification rate "
            f"{100 * row['detection_and_identification_rate']:.2f}, for a false alarm rate of "
            f"{100 * row['false_alarm_rate']:g}"
            for row in found["at_false_alarm_rates"]
        ]


def choose_threshold(
    test: Embedded, held_out: Embedded | None, wanted: float = 0.01, seed: int = 0
) -> Thresholds:
    """Chooses the threshold for a false match rate, and measures it on the test classes.

    Args:
        test: The test images.
        held_out: Images of classes that the model did not train on and that are not test classes.
            None: half of the test classes, by the seed; then only the other half is measured.
        wanted: Wanted false match rate, in (0, 1). Default 0.01.
        seed: Seed of the halves and of the intervals. Default 0.

    Raises:
        ValueError: `pair_rates` raises it, or there are fewer than 4 test classes to halve.
    """
    chosen_on = HELD_OUT
    if held_out is None:
        chosen_on = TEST_HALF
        first, second = _halves(test.query_labels, test.gallery_labels, seed)
        held_out, test = test.of_classes(first), test.of_classes(second)
    chosen = pair_rates(as_pairs(*held_out.parts()), wanted, seed=seed)
    return Thresholds(
        wanted=wanted,
        chosen_on=chosen_on,
        chosen=chosen,
        test=pair_rates(as_pairs(*test.parts()), wanted, chosen.threshold, seed=seed),
        identification=open_set(*test.parts(), seed=seed),
    )


def expect_pairs(
    query_labels: np.ndarray,
    gallery_labels: np.ndarray | None,
    held_out_labels: np.ndarray | None,
    wanted: float,
    seed: int = 0,
) -> None:
    """Raises the ValueError of `choose_threshold` about classes and pairs, before any embedding.

    Args:
        query_labels: Class IDs of the test images, int (Q,).
        gallery_labels: Class IDs of the gallery, int (N,). None: no gallery.
        held_out_labels: Class IDs of the held-out images, int (H,). None: there are none.
        wanted: Wanted false match rate.
        seed: Seed of the halves. Default 0.
    """
    expect_rate(wanted)
    if held_out_labels is not None:
        query_labels, gallery_labels = held_out_labels, None
    else:
        half, _ = _halves(query_labels, gallery_labels, seed)
        query_labels = query_labels[np.isin(query_labels, half)]
        if gallery_labels is not None:
            gallery_labels = gallery_labels[np.isin(gallery_labels, half)]
    expect_enough_pairs(_num_different(query_labels, gallery_labels), wanted)


def _num_different(query_labels: np.ndarray, gallery_labels: np.ndarray | None) -> int:
    """Number of pairs of different classes."""
    searched = query_labels if gallery_labels is None else gallery_labels
    total = len(query_labels) * len(searched)
    classes, counts = np.unique(searched, return_counts=True)
    present = query_labels[np.isin(query_labels, classes)]
    same = int(counts[np.searchsorted(classes, present)].sum())
    return (total - same) // (2 if gallery_labels is None else 1)


def _halves(
    query_labels: np.ndarray, gallery_labels: np.ndarray | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Two random halves of the classes; each has half of those that have a right answer."""
    classes, counts = np.unique(query_labels, return_counts=True)
    answerable = counts > 1
    if gallery_labels is not None:
        classes = np.union1d(classes, gallery_labels)
        answerable = np.isin(classes, np.intersect1d(query_labels, gallery_labels))
    if answerable.sum() < 2 or len(classes) < 4:
        raise ValueError(
            "Expected 4 test classes or more, 2 of them with 2 images or more, to choose a "
            "threshold on one half and to measure it on the other; received "
            f"{len(classes)} test classes, {answerable.sum()} of them with 2 images. Add test "
            "classes, or train with --training.selection held_out, which puts classes aside to "
            "choose on."
        )
    rng = np.random.default_rng([seed])
    parts = rng.permutation(classes[answerable]), rng.permutation(classes[~answerable])
    order = np.concatenate(parts)
    return np.sort(order[::2]), np.sort(order[1::2])


def _cell(each: PairRates, name: str) -> str:
    value = each.rates[name]
    if value is None:
        return "too few pairs"
    scale, digits = (1, 4) if name == "threshold" else (100, 2)
    text = f"{scale * value:.{digits}f}"
    if name in each.intervals:
        low, high = each.intervals[name]
        text += f"  {scale * low:.{digits}f} - {scale * high:.{digits}f}"
    return text
