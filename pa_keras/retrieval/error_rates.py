"""Error rates of deciding by a cosine threshold whether two images are of one class.

A pair matches if and only if its cosine is at least the threshold. The curves are scikit-learn's.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pa_keras.retrieval.pair_counts import (
    GroupCounts,
    PairCounts,
    Pairs,
    count_by_group,
    count_pairs,
    cuts_of,
)

# A rate is reported only where this number of false matches is expected.
LEAST_FALSE_MATCHES = 10
FALSE_ACCEPT_RATES = (1e-1, 1e-2, 1e-3, 1e-4)
# Intervals from fewer classes would be far too narrow.
LEAST_CLASSES = 10
# Resamples whose counts are in memory at once.
_AT_ONCE = 50


@dataclass(frozen=True, eq=False)
class Curve:
    """Rates at every threshold where one of them changes.

    Attributes:
        thresholds: Descending, from infinity, float (T,).
        false_match: Share of the pairs of different classes that match, float (T,).
        true_match: Share of the pairs of one class that match, float (T,).
    """

    thresholds: np.ndarray
    false_match: np.ndarray
    true_match: np.ndarray


@dataclass(frozen=True, eq=False)
class PairRates:
    """Error rates over all pairs of some images.

    Attributes:
        rates: Value by name: "false_match_rate" and "false_non_match_rate" at `threshold`;
            "equal_error_rate"; "roc_auc"; "tar_at_far_0.1" and so on, the share of the pairs of one
            class that match where this share of the others does, None with too few pairs;
            "threshold", the least one at which these images have the wanted false match rate.
        intervals: 95 % bootstrap interval of each, (low, high), by resampling classes; empty with
            fewer than 10 classes.
        threshold: The threshold of the first two rates.
        num_classes: Number of classes.
        num_same: Number of pairs of one class.
        num_different: Number of pairs of different classes.
        counts: The pairs by their cosine.
        curve: The rates at every threshold.
    """

    rates: dict[str, float | None]
    intervals: dict[str, tuple[float, float]]
    threshold: float
    num_classes: int
    num_same: int
    num_different: int
    counts: PairCounts
    curve: Curve

    def as_json(self) -> dict:
        """All numbers except counts and curve, ready for `json.dump`."""
        return {
            "rates": self.rates,
            "intervals": {name: list(bounds) for name, bounds in self.intervals.items()},
            "num_classes": self.num_classes,
            "num_pairs_of_one_class": self.num_same,
            "num_pairs_of_different_classes": self.num_different,
        }


def pair_rates(
    pairs: Pairs,
    wanted: float = 0.01,
    threshold: float | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> PairRates:
    """Measures the error rates over all pairs, with bootstrap intervals by class.

    Images of a class share its difficulty, and pairs share images, so complete classes are
    resampled: a class that is drawn twice counts as two, whose images are not compared with each
    other. The resamples are evaluated at about 1,000 thresholds. With more than 100 classes, 100
    random groups of classes are resampled.

    Args:
        pairs: Result of `as_pairs`.
        wanted: Wanted false match rate, in (0, 1). Default 0.01.
        threshold: Threshold that was chosen on other images. Default None: the least one at which
            these images have at most the wanted false match rate.
        resamples: Number of resamples. Default 1000.
        seed: Seed of the resamples. Default 0.

    Raises:
        ValueError: `wanted` is outside (0, 1); with no threshold given, there are too few pairs
            for it or no threshold reaches it; there is no pair of one class or of two.

    Example:
        >>> from pa_keras.retrieval import as_pairs
        >>> labels = np.arange(60) % 4
        >>> points = np.random.default_rng(0).normal(size=(60, 4)) + 3 * np.eye(4)[labels]
        >>> points /= np.linalg.norm(points, axis=1, keepdims=True)
        >>> found = pair_rates(as_pairs(points, labels), wanted=0.05)
        >>> found.rates["false_match_rate"] <= 0.05, found.num_different
        (True, 1350)
    """
    expect_rate(wanted)
    counts = count_pairs(pairs)
    num_different = int(counts.different.sum())
    curve = curve_of(counts.thresholds, counts.same, counts.different)
    if threshold is None:
        threshold = _chosen(curve, wanted, num_different)
    names = _statistics(curve, threshold, wanted)
    resolved = {
        name: value if value_is_resolved(name, wanted, num_different) else None
        for name, value in names.items()
    }
    intervals: dict[str, tuple[float, float]] = {}
    if pairs.num_classes >= LEAST_CLASSES:
        groups = count_by_group(pairs, cuts_of(counts, including=threshold))
        intervals = _intervals(groups, threshold, wanted, resamples, seed)
    return PairRates(
        rates=resolved,
        intervals={name: each for name, each in intervals.items() if resolved[name] is not None},
        threshold=threshold,
        num_classes=pairs.num_classes,
        num_same=int(counts.same.sum()),
        num_different=num_different,
        counts=counts,
        curve=curve,
    )


def curve_of(thresholds: np.ndarray, same: np.ndarray, different: np.ndarray) -> Curve:
    """The curve of counted pairs, by scikit-learn's `roc_curve`.

    Args:
        thresholds: Least cosine of each place, float (B,).
        same: Number of pairs of one class at each, (B,), not all 0.
        different: Number of pairs of different classes at each, (B,), not all 0.
    """
    from sklearn.metrics import roc_curve

    truth, scores, weights = _weighted(thresholds, same, different)
    found = roc_curve(truth, scores, sample_weight=weights, drop_intermediate=False)
    return Curve(found[2], found[0], found[1])


def precision_recall(counts: PairCounts) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall of the matches at every threshold, by scikit-learn, float (T,) each.

    Precision depends on how many pairs are of one class, and so on the number of classes.
    """
    from sklearn.metrics import precision_recall_curve

    truth, scores, weights = _weighted(counts.thresholds, counts.same, counts.different)
    precision, recall, _ = precision_recall_curve(truth, scores, sample_weight=weights)
    return precision, recall


def needed_pairs(rate: float) -> int:
    """Number of pairs of different classes that a false match rate needs.

    Example:
        >>> needed_pairs(1e-4)
        100000
    """
    return int(np.ceil(LEAST_FALSE_MATCHES / rate - 1e-9))


def expect_rate(wanted: float) -> None:
    """Raises a ValueError unless a wanted false match rate is in (0, 1)."""
    if not 0 < wanted < 1:
        raise ValueError(
            f"Expected a wanted false match rate between 0 and 1, such as 0.01; received {wanted}."
        )


def expect_enough_pairs(num_different: int, wanted: float) -> None:
    """Raises a ValueError if there are too few pairs of different classes for a wanted rate."""
    needed = needed_pairs(wanted)
    if num_different < needed:
        raise ValueError(
            f"Expected at least {needed:,} pairs of different classes to choose a threshold for a "
            f"false match rate of {wanted:g}, so that {LEAST_FALSE_MATCHES} false matches are "
            f"expected; received {num_different:,}. Add images, or ask for a rate of "
            f"{_least_rate(num_different):g} or more."
        )


def value_is_resolved(name: str, wanted: float, num_different: int) -> bool:
    """Whether there are pairs enough for one of the `PairRates.rates`."""
    rate = {f"tar_at_far_{far:g}": far for far in FALSE_ACCEPT_RATES} | {"threshold": wanted}
    return name not in rate or num_different >= needed_pairs(rate[name])


def _least_rate(num_different: int) -> float:
    """The smallest rate of two digits for which there are pairs enough."""
    rate = LEAST_FALSE_MATCHES / num_different
    unit = 10.0 ** (np.floor(np.log10(rate)) - 1)
    return float(np.ceil(rate / unit) * unit)


def _chosen(curve: Curve, wanted: float, num_different: int) -> float:
    """The least threshold with at most the wanted false match rate."""
    expect_enough_pairs(num_different, wanted)
    place = place_of_rate(curve, wanted)
    if not place:
        raise ValueError(
            f"No threshold reaches a false match rate of {wanted:g}: "
            f"{100 * curve.false_match[1]:.3g} % of the pairs of different classes have the "
            f"largest cosine of all, {curve.thresholds[1]:.4f}. Look for copies under two labels "
            "(--duplicates drop), or ask for a larger rate."
        )
    return float(curve.thresholds[place])


def _statistics(curve: Curve, threshold: float, wanted: float) -> dict[str, float]:
    from sklearn.metrics import auc

    at = np.searchsorted(-curve.thresholds, -threshold, side="right") - 1
    miss = 1 - curve.true_match
    tar = {
        f"tar_at_far_{far:g}": float(curve.true_match[place_of_rate(curve, far)])
        for far in FALSE_ACCEPT_RATES
    }
    place = max(place_of_rate(curve, wanted), 1)
    return {
        "false_match_rate": float(curve.false_match[at]),
        "false_non_match_rate": float(miss[at]),
        # Between two thresholds, along the straight line that joins them.
        "equal_error_rate": float(np.interp(0, curve.false_match - miss, curve.false_match)),
        "roc_auc": float(auc(curve.false_match, curve.true_match)),
        **tar,
        "threshold": float(curve.thresholds[place]),
    }


def place_of_rate(curve: Curve, rate: float) -> int:
    """Index of the least threshold whose false match rate is at most `rate`."""
    return int(np.searchsorted(curve.false_match, rate, side="right")) - 1


def _intervals(
    groups: GroupCounts, threshold: float, wanted: float, resamples: int, seed: int
) -> dict[str, tuple[float, float]]:
    number = len(groups.same)
    draws = np.random.default_rng([seed]).multinomial(number, [1 / number] * number, resamples)
    upper = np.triu_indices(number)
    found: list[Mapping[str, float]] = []
    for start in range(0, resamples, _AT_ONCE):
        weights = draws[start : start + _AT_ONCE].astype(np.float64)
        same = weights @ groups.same
        # Two different classes meet once for each time that one and the other was drawn.
        different = (weights[:, upper[0]] * weights[:, upper[1]]) @ groups.different
        for pair in zip(same, different, strict=True):
            if all(each.any() for each in pair):
                curve = curve_of(groups.thresholds, *pair)
                found.append(_statistics(curve, threshold, wanted))
    bounds = {
        name: np.quantile([each[name] for each in found], [0.025, 0.975]) for name in found[0]
    }
    return {name: (float(low), float(high)) for name, (low, high) in bounds.items()}


def _weighted(
    thresholds: np.ndarray, same: np.ndarray, different: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, score and weight of the places that have pairs, for scikit-learn."""
    truth = np.repeat([True, False], [len(same), len(different)])
    weights = np.concatenate([same, different]).astype(np.float64)
    kept = weights > 0
    return truth[kept], np.tile(thresholds, 2)[kept], weights[kept]
