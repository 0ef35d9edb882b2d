"""Approximate search with ScaNN, tuned against exact search on a sample of queries."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TypeVar

import numpy as np

from pa_keras.retrieval.exact import exact_neighbours, without_own
from pa_keras.retrieval.relevance import matches, num_relevant
from pa_keras.retrieval.scann_error import SearchError, measure_error
from pa_keras.retrieval.scann_import import ScannUnusableError
from pa_keras.retrieval.scann_index import ScannIndex, build_index

T = TypeVar("T")

# Limits of the sample that is also searched exactly, a sixth of the queries. Fewer than 4,400 could
# not bound the error of the best of four efforts by 0.1 %, even if nothing were missed.
SMALLEST_SAMPLE, LARGEST_SAMPLE = 5_000, 10_000
# Each effort doubles the candidates and leaves; above the last one, exact search is faster.
EFFORTS = (1, 2, 4, 8)
# Largest allowed bound of the error: of the recalls with labels, of missed neighbours without.
MAX_RECALL_ERROR, MAX_MISSED = 0.001, 0.01

# Labels of the queries (Q,) and of the gallery (N,).
Labels = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Tuning:
    """The result of tuning an index.

    Attributes:
        settings: Settings of the search, with ScaNN's names.
        error: Error of the search against exact search.
        build_seconds: Time to build the index.
        tune_seconds: Time to measure the error, including exact search of the sample.
        search_seconds: Time to search all queries.
    """

    settings: dict[str, int | str | None]
    error: SearchError
    build_seconds: float
    tune_seconds: float
    search_seconds: float

    def as_json(self) -> dict:
        """Returns all values, ready for `json.dump`."""
        return {**asdict(self), "error": self.error.as_json()}


def scann_neighbours(
    queries: np.ndarray,
    gallery: np.ndarray,
    k: int,
    own: np.ndarray | None = None,
    labels: Labels | None = None,
    max_error: float | None = None,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray, Tuning]:
    """Finds the k nearest of each query with ScaNN, at the least effort that is exact enough.

    The error of each effort is measured against exact search on a sample of the queries, until its
    bound at 95 % confidence is small enough (`measure_error`).

    Args:
        queries: Unit rows, float32 (Q, D).
        gallery: Unit rows, float32 (N, D).
        k: Number of neighbours per query.
        own: Index of each query in the gallery, int (Q,), to leave out of its answers, or None.
        labels: Labels, int (Q,) and (N,): the error is the change of Recall@1 and Recall@k.
            Default None: it is the share of missed neighbours.
        max_error: Largest allowed bound. Default None: 0.001 with labels, 0.01 without.
        seed: Seed of the sample. Default 0.

    Returns:
        indices int32 (Q, k), similarities float32 (Q, k), and the `Tuning`.

    Raises:
        ScannUnusableError: ScaNN does not load, or the bound exceeds `max_error` at every effort.
    """
    started = time.perf_counter()
    index = build_index(gallery, k if own is None else k + 1)
    built = time.perf_counter()
    if max_error is None:
        max_error = MAX_MISSED if labels is None else MAX_RECALL_ERROR
    sample = _sample(queries, own, labels, seed)
    effort, error = _tune(index, gallery, k, sample, max_error)
    tuned = time.perf_counter()
    indices, similarities = _answers(index, queries, effort, own)
    # A tree gives too few answers if the leaves that are searched have fewer than k vectors.
    short = np.flatnonzero(~np.isfinite(similarities).all(axis=1))
    if len(short):
        short_own = None if own is None else own[short]
        redone = exact_neighbours(queries[short], gallery, k, short_own)
        indices[short], similarities[short] = redone
    seconds = built - started, tuned - built, time.perf_counter() - tuned
    return indices, similarities, Tuning(index.settings(effort), error, *seconds)


def least_effort(measure: Callable[[int], T], is_enough: Callable[[T], bool]) -> tuple[int, T]:
    """Returns the first of `EFFORTS` with a small enough error, or the last one, and its error.

    Args:
        measure: Measures the error of the search at an effort.
        is_enough: Returns whether an error is small enough.

    Example:
        >>> least_effort(lambda effort: 1 / effort, lambda error: error <= 0.25)
        (4, 0.25)
    """
    for effort in EFFORTS:
        error = measure(effort)
        if is_enough(error):
            break
    return effort, error


@dataclass(frozen=True)
class _Sample:
    """The queries that are searched exactly, too.

    Attributes:
        queries: Unit rows, float32 (S, D).
        own: Index of each in the gallery, int (S,), or None.
        labels: Labels of the sample, int (S,), and of the gallery, int (N,), or None.
        is_whole: Whether it holds all queries that count.
    """

    queries: np.ndarray
    own: np.ndarray | None
    labels: Labels | None
    is_whole: bool

    def right(self, indices: np.ndarray) -> np.ndarray | None:
        """Whether each answer is of the query's class, bool (S, k); None without labels."""
        return None if self.labels is None else matches(indices, *self.labels) & (indices >= 0)


def _sample(
    queries: np.ndarray, own: np.ndarray | None, labels: Labels | None, seed: int
) -> _Sample:
    countable = np.arange(len(queries))
    if labels is not None:
        # Queries without a right answer do not count in the recalls.
        countable = np.flatnonzero(num_relevant(*labels) > (own is not None))
        if not len(countable):
            raise ScannUnusableError("no query has a right answer to measure it by")
    size = min(np.clip(len(queries) // 6, SMALLEST_SAMPLE, LARGEST_SAMPLE), len(countable))
    chosen = np.sort(np.random.default_rng(seed).choice(countable, size, replace=False))
    return _Sample(
        queries[chosen],
        None if own is None else own[chosen],
        None if labels is None else (labels[0][chosen], labels[1]),
        size == len(countable),
    )


def _tune(
    index: ScannIndex, gallery: np.ndarray, k: int, sample: _Sample, max_error: float
) -> tuple[int, SearchError]:
    """Returns the least effort whose error is bounded by `max_error`, and this error."""
    truth, exact_similarities = exact_neighbours(sample.queries, gallery, k, sample.own)
    exact_right = sample.right(truth)

    def measure(effort: int) -> SearchError:
        indices, similarities = _answers(index, sample.queries, effort, sample.own)
        return measure_error(
            similarities,
            exact_similarities,
            sample.right(indices),
            exact_right,
            len(EFFORTS),
            sample.is_whole,
        )

    effort, error = least_effort(measure, lambda error: error.bound <= max_error)
    if error.bound <= max_error:
        return effort, error
    raise ScannUnusableError(f"ScaNN {error}, more than the {max_error:.2%} allowed")


def _answers(
    index: ScannIndex, queries: np.ndarray, effort: int, own: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    indices, similarities = index.find(queries, effort)
    return (indices, similarities) if own is None else without_own(indices, similarities, own)
