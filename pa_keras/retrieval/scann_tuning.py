"""Approximate search by ScaNN, used only as far as it was measured against exact search."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TypeVar

import numpy as np

from pa_keras.retrieval.exact import exact_neighbours, without_own
from pa_keras.retrieval.relevance import matches, num_relevant
from pa_keras.retrieval.scann_error import SearchError, measure_error
from pa_keras.retrieval.scann_index import ScannIndex, ScannUnusableError, build_index

T = TypeVar("T")

# Queries that are also searched exactly: a sixth of them, between these. Fewer than 4,400 cannot
# bound the error of the best of four efforts by 0.1 %, even where nothing was missed.
SMALLEST_SAMPLE, LARGEST_SAMPLE = 5_000, 10_000
# Each further effort looks at twice the candidates and leaves; past the last, exact search pays.
EFFORTS = (1, 2, 4, 8)
# What the bound of the error may be: of the recalls with labels, of missed neighbours without.
MAX_RECALL_ERROR, MAX_MISSED = 0.001, 0.01

# Labels of the queries (Q,) and of the gallery (N,).
Labels = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Tuning:
    """How an index was tuned, and what that was worth.

    Attributes:
        settings: of the search, by ScaNN's words.
        error: against exact search, of the answers that were given.
        build_seconds: spent on the index.
        tune_seconds: spent on measuring, exact search of the sample included.
        search_seconds: spent on all the queries.
    """

    settings: dict[str, int | str | None]
    error: SearchError
    build_seconds: float
    tune_seconds: float
    search_seconds: float

    def as_json(self) -> dict:
        """Everything, ready for `json.dump`."""
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
    """The k nearest of each query by ScaNN, at the least effort that is surely exact enough.

    Each effort is measured on a sample of the queries against exact search, until the bound of its
    error is small enough at 95 % confidence (`measure_error`).

    Args:
        queries: float32 (Q, D), unit rows.
        gallery: float32 (N, D), unit rows.
        k: neighbours a query.
        own: int (Q,), the index of each query in the gallery, left out of its answers, or None.
        labels: int (Q,) and (N,): the error is that of Recall@1 and Recall@k. Default None: it is
            the share of missed neighbours.
        max_error: what the bound may be. Default None: 0.001 with labels, 0.01 without.
        seed: seed of the sample. Default 0.

    Returns:
        indices int32 (Q, k), similarities float32 (Q, k), and the `Tuning`.

    Raises:
        ScannUnusableError: ScaNN does not load, or may be off by more than `max_error` at every
            effort.
    """
    started = time.perf_counter()
    index = build_index(gallery, k if own is None else k + 1)
    built = time.perf_counter()
    if max_error is None:
        max_error = MAX_MISSED if labels is None else MAX_RECALL_ERROR
    effort, error = _tune(index, queries, gallery, k, own, labels, max_error, seed)
    tuned = time.perf_counter()
    indices, similarities = _answers(index, queries, effort, own)
    # A tree gives too few answers where its leaves hold fewer than k vectors.
    short = np.flatnonzero(~np.isfinite(similarities).all(axis=1))
    if len(short):
        short_own = None if own is None else own[short]
        redone = exact_neighbours(queries[short], gallery, k, short_own)
        indices[short], similarities[short] = redone
    seconds = built - started, tuned - built, time.perf_counter() - tuned
    return indices, similarities, Tuning(index.settings(effort), error, *seconds)


def least_effort(measure: Callable[[int], T], is_enough: Callable[[T], bool]) -> tuple[int, T]:
    """The first of `EFFORTS` whose measured error is small enough, or the last; and this error.

    Args:
        measure: Measures the error of the search at an effort.
        is_enough: Whether an error is small enough.

    Example:
        >>> least_effort(lambda effort: 1 / effort, lambda error: error <= 0.25)
        (4, 0.25)
    """
    for effort in EFFORTS:
        error = measure(effort)
        if is_enough(error):
            break
    return effort, error


def _tune(
    index: ScannIndex,
    queries: np.ndarray,
    gallery: np.ndarray,
    k: int,
    own: np.ndarray | None,
    labels: Labels | None,
    max_error: float,
    seed: int,
) -> tuple[int, SearchError]:
    """The least effort whose error is bounded by `max_error`, and this error."""
    countable = np.arange(len(queries))
    if labels is not None:
        # Queries without a right answer count in no recall.
        countable = np.flatnonzero(num_relevant(*labels) > (own is not None))
        if not len(countable):
            raise ScannUnusableError("no query has a right answer to measure it by")
    size = np.clip(len(queries) // 6, SMALLEST_SAMPLE, LARGEST_SAMPLE)
    size = min(size, len(countable))
    sample = np.sort(np.random.default_rng(seed).choice(countable, size, replace=False))
    sample_own = None if own is None else own[sample]
    truth, exact_similarities = exact_neighbours(queries[sample], gallery, k, sample_own)
    exact_right = None
    if labels is not None:
        exact_right = matches(truth, labels[0][sample], labels[1])

    def measure(effort: int) -> SearchError:
        indices, similarities = _answers(index, queries[sample], effort, sample_own)
        right = None
        if labels is not None:
            right = matches(indices, labels[0][sample], labels[1]) & (indices >= 0)
        whole = size == len(countable)
        return measure_error(
            similarities, exact_similarities, right, exact_right, len(EFFORTS), whole
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
