"""ScaNN in an index: it names candidates, which are then compared exactly."""

import logging
import math
from pathlib import Path
from typing import Any

import numpy as np

from pa_keras.retrieval import search
from pa_keras.retrieval.approximate import BRUTE_FORCE_BELOW, EFFORTS, TREE_ABOVE

logger = logging.getLogger(__name__)

_LARGEST_K = 100  # past it, exact search costs no more
_TUNED_K = 10
_SAMPLE_SIZE = 1000
_MOST_MISSED = 0.01
_TOLERANCE = 1e-5  # of a similarity: among equal ones any neighbour is right
_ROOM = 2**26  # numbers of candidates held at once


class CandidateSearch:
    """A ScaNN index of codes alone, opened from disk.

    It holds no copy of the embeddings: the candidates that it names are compared by the index's
    own, memory-mapped. So similarities are exact, and only candidates can be missed.

    Args:
        folder: of ScaNN's files.
        settings: what `build_candidates` returned.

    Raises:
        ImportError: ScaNN does not load.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self._searcher = _scann().load_searcher(str(folder))
        self._settings = settings

    def serves(self, k: int) -> bool:
        """Whether so many neighbours are searched in this way."""
        return k <= _LARGEST_K

    def search(
        self, queries: np.ndarray, embeddings: np.ndarray, k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows int32 (Q, k) and similarities float32 (Q, k) of the nearest, best first.

        Args:
            queries: float32 (Q, D), rows of unit length.
            embeddings: float32 (N, D), those that the index was built of.
            k: neighbours a query, at most 100 and N.
        """
        # As many times more candidates as k is above the one it was tuned for.
        count = min(len(embeddings), self._settings["candidates"] * math.ceil(k / _TUNED_K))
        leaves = self._settings["leaves"]
        return _nearest_candidates(self._searcher, queries, embeddings, k, count, leaves)


def build_candidates(embeddings: np.ndarray, folder: Path) -> dict[str, Any] | None:
    """Builds and writes a ScaNN index where it pays, at the least effort that is exact enough.

    Google's rules: from 20,000 vectors asymmetric hashing, above 100,000 below a tree of sqrt(N)
    leaves. Each effort is measured on up to 1,000 of the vectors, searching all the others,
    against exact search: at most 1 % of the 10 nearest may be missed.

    Args:
        embeddings: float32 (N, D), rows of unit length.
        folder: new folder for ScaNN's files.

    Returns:
        candidates, leaves: the effort; missed: the share of the 10 nearest that it missed. None,
        and no folder, for fewer vectors, without ScaNN, or where none is exact enough.
    """
    size = len(embeddings)
    if size < BRUTE_FORCE_BELOW:
        return None
    try:
        builder = _scann().builder(np.asarray(embeddings), _LARGEST_K, "dot_product")
    except ImportError as error:
        logger.warning("The index has exact search alone, because %s.", error)
        return None
    leaves = 1
    if size > TREE_ABOVE:
        num_leaves = round(math.sqrt(size))
        leaves = max(1, num_leaves // 20)
        builder = builder.tree(num_leaves, leaves, training_sample_size=min(size, 250_000))
    logger.info("Building ScaNN's index of %s vectors.", f"{size:,}")
    searcher = builder.score_ah(2, anisotropic_quantization_threshold=0.2).build()
    sample = np.random.default_rng(0).choice(size, _SAMPLE_SIZE, replace=False)
    queries = np.ascontiguousarray(embeddings[sample])
    # With itself, which is found in any case: one more than the neighbours that count.
    truth = search(queries, embeddings, _TUNED_K + 1, method="exact").similarities
    for effort in EFFORTS:
        settings = {"candidates": 100 * effort, "leaves": leaves * effort}
        found = _nearest_candidates(
            searcher, queries, embeddings, _TUNED_K + 1, settings["candidates"], settings["leaves"]
        )[1]
        missed = float((found[:, 1:] < truth[:, -1:] - _TOLERANCE).mean())
        if missed <= _MOST_MISSED:
            folder.mkdir()
            searcher.serialize(str(folder), relative_path=True)
            return {**settings, "missed": missed}
    logger.warning(
        "The index has exact search alone: ScaNN missed %.1f %% of the 10 nearest.", 100 * missed
    )
    return None


def _nearest_candidates(
    searcher: Any,
    queries: np.ndarray,
    embeddings: np.ndarray,
    k: int,
    count: int,
    leaves: int,
) -> tuple[np.ndarray, np.ndarray]:
    rows = np.empty((len(queries), k), np.int32)
    similarities = np.empty((len(queries), k), np.float32)
    at_once = max(1, _ROOM // (count * embeddings.shape[1]))
    for start in range(0, len(queries), at_once):
        block = slice(start, start + at_once)
        found, scores = searcher.search_batched_parallel(
            queries[block], final_num_neighbors=count, leaves_to_search=leaves
        )
        # Sorted, so that equal similarities come by lower row and a disk is read forwards.
        found = np.sort(np.where(np.isfinite(scores), found.astype(np.int64), -1), axis=1)
        exact = np.einsum("qd,qcd->qc", queries[block], embeddings[found])
        exact[found < 0] = -np.inf  # a tree gives too few where its leaves hold few
        best = np.argsort(-exact, axis=1, kind="stable")[:, :k]
        rows[block] = np.take_along_axis(found, best, axis=1)
        similarities[block] = np.take_along_axis(exact, best, axis=1)
    short = np.flatnonzero(~np.isfinite(similarities).all(axis=1))
    if len(short):
        redone = search(queries[short], embeddings, k, method="exact")
        rows[short], similarities[short] = redone.indices, redone.similarities
    return rows, similarities


def _scann() -> Any:
    """ScaNN's module; the ways in which it does not load become one error."""
    import tensorflow as tf

    try:
        from scann.scann_ops.py import scann_ops_pybind
    except (ImportError, tf.errors.NotFoundError, OSError) as error:
        raise ImportError(
            f"ScaNN does not load ({error}); it is for Linux on x86-64, in the release made for "
            f"TensorFlow {tf.__version__}"
        ) from error
    return scann_ops_pybind
