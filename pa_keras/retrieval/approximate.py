"""Approximate search by ScaNN, used only as far as it was measured against exact search."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from pa_keras.retrieval.exact import exact_neighbours, without_own

# Google's published rules: brute force below, hashing to the second, a tree above it.
BRUTE_FORCE_BELOW = 20_000
TREE_ABOVE = 100_000
# Queries searched exactly as well, to measure the error of the approximate search.
SAMPLE_SIZE = 2_000
# Each further effort looks at twice the candidates and leaves; past the last, exact search pays.
EFFORTS = (1, 2, 4, 8)
TOLERANCE = 1e-5

# Queries and effort -> indices and similarities.
Find = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]


class ScannUnusableError(RuntimeError):
    """ScaNN is missing, does not load, or is not exact enough; the message says which."""


@dataclass(frozen=True)
class SearchError:
    """What an approximate search missed of exact search, as shares in [0, 1].

    Attributes:
        nearest: share of queries whose nearest neighbour was missed.
        neighbours: share of all the k nearest neighbours that were missed.
        sample_size: number of queries measured.
    """

    nearest: float
    neighbours: float
    sample_size: int

    def __str__(self) -> str:
        return (
            f"missed {self.nearest:.2%} of the nearest and {self.neighbours:.2%} of all neighbours "
            f"of {self.sample_size:,} queries that were also searched exactly"
        )


def scann_neighbours(
    queries: np.ndarray,
    gallery: np.ndarray,
    k: int,
    own: np.ndarray | None = None,
    max_error: float = 0.01,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray, SearchError]:
    """The k nearest of each query by ScaNN, at the least effort that is exact enough.

    The index follows Google's rules: brute force under 20,000 vectors, asymmetric hashing with
    rescoring to 100,000, a tree of sqrt(N) leaves above. Each effort is measured on a sample of
    the queries against exact search. Where neighbours tie at one similarity, any of them is right.

    Args:
        queries: float32 (Q, D), unit rows.
        gallery: float32 (N, D), unit rows.
        k: neighbours a query.
        own: int (Q,), the index of each query in the gallery, left out of its answers, or None.
        max_error: share of the sample's neighbours, of the nearest and of all k, that may be
            missed. Default 0.01.
        seed: seed of the sample. Default 0.

    Returns:
        indices int32 (Q, k), similarities float32 (Q, k), and the measured `SearchError`.

    Raises:
        ScannUnusableError: ScaNN does not load, or misses more than `max_error` at every effort.

    Source: https://github.com/google-research/google-research/blob/master/scann/docs/algorithms.md
    """
    answers = None if own is None else k + 1
    find = _build(gallery, answers or k)
    size = min(SAMPLE_SIZE, len(queries))
    sample = np.sort(np.random.default_rng(seed).choice(len(queries), size, replace=False))
    sample_own = None if own is None else own[sample]
    _, truth = exact_neighbours(queries[sample], gallery, k, sample_own)
    for effort in EFFORTS:
        _, similarities = _answers(find, queries[sample], effort, sample_own)
        error = _measure(similarities, truth)
        if max(error.nearest, error.neighbours) <= max_error:
            break
    else:
        raise ScannUnusableError(f"ScaNN {error}, more than the {max_error:.2%} allowed")
    indices, similarities = _answers(find, queries, effort, own)
    # A tree gives too few answers, the rest NaN, where its leaves hold fewer than k vectors.
    short = np.flatnonzero(~np.isfinite(similarities).all(axis=1))
    if len(short):
        short_own = None if own is None else own[short]
        redone = exact_neighbours(queries[short], gallery, k, short_own)
        indices[short], similarities[short] = redone
    return indices, similarities, error


def _build(gallery: np.ndarray, k: int) -> Find:
    """A function of queries and effort -> indices, similarities, for one index of the gallery."""
    num_vectors = len(gallery)
    builder = _load_scann().builder(gallery, k, "dot_product")
    if num_vectors < BRUTE_FORCE_BELOW:
        searcher = builder.score_brute_force().build()
        return lambda queries, effort: searcher.search_batched_parallel(queries)
    candidates, leaves = max(100, 2 * k), 1
    if num_vectors > TREE_ABOVE:
        num_leaves = round(math.sqrt(num_vectors))
        leaves = max(1, num_leaves // 20)
        builder = builder.tree(num_leaves, leaves, training_sample_size=min(num_vectors, 250_000))
    builder = builder.score_ah(2, anisotropic_quantization_threshold=0.2).reorder(candidates)
    searcher = builder.build()

    def find(queries: np.ndarray, effort: int) -> tuple[np.ndarray, np.ndarray]:
        # ScaNN ignores the number of leaves where there is no tree.
        return searcher.search_batched_parallel(
            queries,
            pre_reorder_num_neighbors=min(num_vectors, effort * candidates),
            leaves_to_search=effort * leaves,
        )

    return find


def _answers(
    find: Find, queries: np.ndarray, effort: int, own: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    indices, similarities = find(queries, effort)
    # ScaNN fills missing answers with index 0, which may be the query's own.
    indices = np.where(np.isfinite(similarities), indices, -1).astype(np.int32)
    return (indices, similarities) if own is None else without_own(indices, similarities, own)


def _measure(similarities: np.ndarray, truth: np.ndarray) -> SearchError:
    missed_nearest = ~(similarities[:, 0] >= truth[:, 0] - TOLERANCE)
    missed = ~(similarities >= truth[:, -1:] - TOLERANCE)
    return SearchError(float(missed_nearest.mean()), float(missed.mean()), len(truth))


def _load_scann() -> ModuleType:
    """ScaNN's builder module; its three ways not to load become one error that says what to do."""
    import tensorflow as tf

    try:
        from scann.scann_ops.py import scann_ops_pybind
    except ImportError as error:
        raise ScannUnusableError(
            f"ScaNN is not installed or not for this platform ({error}); on Linux x86-64, "
            "`pip install scann`"
        ) from error
    except (tf.errors.NotFoundError, OSError) as error:
        raise ScannUnusableError(
            f"the installed ScaNN does not fit TensorFlow {tf.__version__}; install the release "
            "of scann made for it (1.4.2 for 2.20)"
        ) from error
    return scann_ops_pybind
