"""Approximate search in an index: ScaNN finds candidates, which are then compared exactly."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pa_keras.retrieval import search
from pa_keras.retrieval.scann_import import ScannUnusableError, load_scann
from pa_keras.retrieval.scann_index import BRUTE_FORCE_BELOW, TREE_SAMPLE
from pa_keras.retrieval.scann_tuning import least_effort

logger = logging.getLogger(__name__)

# With fewer vectors, a few queries at a time need no tree.
_TREE_ABOVE = 100_000
_KS = (10, 100)  # measured; for a larger k, exact search costs no more
_SAMPLE_SIZE = 1000
_MOST_MISSED = 0.01
_TOLERANCE = 1e-5  # of a similarity: of equally similar items, any one is correct
_ROOM = 2**26  # numbers in the candidates that are in memory at once


class CandidateSearch:
    """A ScaNN index that holds only codes, opened from disk.

    It holds no copy of the embeddings: candidates are compared by the memory-mapped embeddings of
    the index. So similarities are exact, and the only error is a missed candidate.

    Args:
        folder: Folder of ScaNN's files.
        settings: Result of `build_candidates`.

    Raises:
        ScannUnusableError: If ScaNN does not load, or cannot read the files.
    """

    def __init__(self, folder: Path, settings: Sequence[dict[str, Any]]) -> None:
        try:
            # The shim for old files is off, because it would write into the index.
            self._searcher = load_scann().load_searcher(str(folder), assets_backcompat_shim=False)
        except (RuntimeError, ValueError) as error:
            if isinstance(error, ScannUnusableError):
                raise
            raise ScannUnusableError(
                f"ScaNN cannot read its files in {folder} ({error}); build the index again with "
                "the installed release of ScaNN"
            ) from error
        self._settings = settings

    def serves(self, k: int) -> bool:
        """Returns whether the search for k or more neighbours was measured as exact enough."""
        return any(k <= each["k"] for each in self._settings)

    def search(
        self, queries: np.ndarray, embeddings: np.ndarray, k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns rows int32 (Q, k) and similarities float32 (Q, k) of the nearest, best first.

        Args:
            queries: Embeddings float32 (Q, D) of unit length.
            embeddings: Embeddings float32 (N, D) from which the index was built.
            k: Neighbours of each query; `serves(k)` must be true.
        """
        effort = next(each for each in self._settings if k <= each["k"])
        return _nearest_candidates(self._searcher, queries, embeddings, k, effort)


def build_candidates(embeddings: np.ndarray, folder: Path) -> list[dict[str, Any]]:
    """Builds and writes a ScaNN index if it pays, with the least effort that is exact enough.

    It uses asymmetric hashing from 20,000 vectors, and a tree of sqrt(N) leaves above 100,000. For
    k = 10 and k = 100, 1,000 of the vectors search all the others with growing effort, and are
    compared with exact search: at most 1 % of the k nearest may be missed.

    Args:
        embeddings: Embeddings float32 (N, D) of unit length.
        folder: New folder for ScaNN's files.

    Returns:
        For each k that is exact enough: k; the effort as candidates and leaves; and missed, the
        share of the k nearest that it missed. Empty, and without a folder, if there are fewer
        vectors, ScaNN is not installed, or no effort is exact enough.
    """
    size = len(embeddings)
    if size < BRUTE_FORCE_BELOW:
        return []
    try:
        builder = load_scann().builder(np.asarray(embeddings), _KS[-1], "dot_product")
    except ScannUnusableError as error:
        logger.warning("The index has only exact search, because %s.", error)
        return []
    leaves = 1
    if size > _TREE_ABOVE:
        num_leaves = round(math.sqrt(size))
        leaves = max(1, num_leaves // 20)
        builder = builder.tree(num_leaves, leaves, training_sample_size=min(size, TREE_SAMPLE))
    logger.info("Building the ScaNN index of %s vectors.", f"{size:,}")
    searcher = builder.score_ah(2, anisotropic_quantization_threshold=0.2).build()
    measured = [_tuned(searcher, embeddings, k, leaves) for k in _KS]
    found = [each for each in measured if each["missed"] <= _MOST_MISSED]
    for each in measured:
        if each not in found:
            logger.warning(
                "Search for %d neighbours is exact: ScaNN missed %.1f %% of them.",
                each["k"],
                100 * each["missed"],
            )
    if found:
        folder.mkdir()
        try:
            searcher.serialize(str(folder), relative_path=True)
        except RuntimeError as error:  # ScaNN raises it if the disk is full
            raise OSError(str(error)) from error
    return found


def _tuned(searcher: Any, embeddings: np.ndarray, k: int, leaves: int) -> dict[str, Any]:
    """Returns the least effort that misses few enough neighbours, otherwise the last one tried."""
    sample = np.random.default_rng(0).choice(len(embeddings), _SAMPLE_SIZE, replace=False)
    queries = np.ascontiguousarray(embeddings[sample])
    # One neighbour more, because each query also finds itself.
    truth = search(queries, embeddings, k + 1, method="exact").similarities

    def settings(effort: int) -> dict[str, int]:
        return {"k": k, "candidates": max(100, 2 * k) * effort, "leaves": leaves * effort}

    def missed(effort: int) -> float:
        found = _nearest_candidates(searcher, queries, embeddings, k + 1, settings(effort))[1]
        return float((found[:, 1:] < truth[:, -1:] - _TOLERANCE).mean())

    effort, share = least_effort(missed, lambda share: share <= _MOST_MISSED)
    return {**settings(effort), "missed": share}


def _nearest_candidates(
    searcher: Any,
    queries: np.ndarray,
    embeddings: np.ndarray,
    k: int,
    effort: dict[str, Any],
) -> tuple[np.ndarray, np.ndarray]:
    count = min(len(embeddings), effort["candidates"])
    rows = np.empty((len(queries), k), np.int32)
    similarities = np.empty((len(queries), k), np.float32)
    at_once = max(1, _ROOM // (count * embeddings.shape[1]))
    for start in range(0, len(queries), at_once):
        block = slice(start, start + at_once)
        found, scores = searcher.search_batched_parallel(
            queries[block], final_num_neighbors=count, leaves_to_search=effort["leaves"]
        )
        # Sorted, so that the lower of equal rows comes first and a disk is read forwards.
        found = np.sort(np.where(np.isfinite(scores), found.astype(np.int64), -1), axis=1)
        exact = np.einsum("qd,qcd->qc", queries[block], embeddings[found])
        exact[found < 0] = -np.inf  # a tree returns too few if its leaves hold few
        best = np.argsort(-exact, axis=1, kind="stable")[:, :k]
        rows[block] = np.take_along_axis(found, best, axis=1)
        similarities[block] = np.take_along_axis(exact, best, axis=1)
    short = np.flatnonzero(~np.isfinite(similarities).all(axis=1))
    if len(short):
        redone = search(queries[short], embeddings, k, method="exact")
        rows[short], similarities[short] = redone.indices, redone.similarities
    return rows, similarities
