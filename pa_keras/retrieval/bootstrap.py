"""Confidence intervals of means over queries, by the bootstrap."""

import numpy as np
import numpy.typing as npt

# Draws kept in memory at once: 8 MB of indices.
DRAWS_AT_ONCE = 2**20


def bootstrap_interval(
    per_query_values: npt.ArrayLike,
    groups: npt.ArrayLike | None = None,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Returns the percentile bootstrap interval of the mean of per-query values.

    The queries are resampled with replacement; the neighbours of each query do not change. So the
    interval covers the choice of queries, but not that of the gallery or of the training seed.
    Queries of one class resemble each other: with `groups`, complete classes are resampled, which
    gives the wider interval for "other classes of this kind".

    Args:
        per_query_values: Real values (Q,), for example of `recall_at_k`.
        groups: Labels (Q,); complete groups are resampled. Default None: single queries.
        confidence: Coverage of the interval, between 0 and 1. Default 0.95.
        resamples: Number of resampled means. Default 1000.
        seed: Seed of the draws; the same seed gives the same interval. Default 0.

    Returns:
        The ends of the interval, floats (low, high).

    Raises:
        ValueError: The values are empty or not a finite vector, the groups have another length,
            the confidence is outside (0, 1), or there are no resamples.

    Example:
        >>> bootstrap_interval([1, 1, 1, 1])
        (1.0, 1.0)

    Source: Efron, Bootstrap Methods: Another Look at the Jackknife, 1979.
    """
    values = np.asarray(per_query_values, dtype=np.float64)
    _check(values, groups, confidence, resamples)
    sums: np.ndarray = values
    sizes: np.ndarray = np.ones(len(values))
    if groups is not None:
        _, members = np.unique(groups, return_inverse=True)
        sums, sizes = np.bincount(members, values), np.bincount(members)
    rng = np.random.default_rng(seed)
    at_once = max(1, DRAWS_AT_ONCE // len(sums))
    means = []
    for start in range(0, resamples, at_once):
        drawn = rng.integers(len(sums), size=(min(at_once, resamples - start), len(sums)))
        means.append(sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return float(low), float(high)


def _check(
    values: np.ndarray, groups: npt.ArrayLike | None, confidence: float, resamples: int
) -> None:
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(
            "Expected per_query_values as a finite vector, one value per query; received shape "
            f"{values.shape}{'' if np.isfinite(values).all() else ' with NaN or infinity'}; leave "
            "out the queries without a right answer."
        )
    if groups is not None and np.shape(groups) != values.shape:
        raise ValueError(
            f"Expected groups of shape {values.shape}, one per query; received {np.shape(groups)}."
        )
    if not 0 < confidence < 1 or resamples < 1:
        raise ValueError(
            "Expected confidence between 0 and 1 and resamples of 1 or more; received "
            f"confidence={confidence}, resamples={resamples}."
        )
