"""A ScaNN index, configured by Google's rules, that can be searched at several efforts."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pa_keras.retrieval.scann_import import load_scann

# Google's published rule is brute force below this number of vectors.
BRUTE_FORCE_BELOW = 20_000
# The tree is trained on at most this number of vectors.
TREE_SAMPLE = 250_000


@dataclass(frozen=True)
class ScannIndex:
    """An index, and how much of it is searched at effort 1; effort e searches e times as much.

    Attributes:
        searcher: ScaNN's searcher.
        num_vectors: Number of vectors in the index.
        num_leaves: Number of leaves of the tree, or None for brute force.
        leaves: Number of leaves to search, or None for brute force.
        candidates: Number of vectors whose exact similarity is computed, or None for brute force.
    """

    searcher: Any
    num_vectors: int
    num_leaves: int | None = None
    leaves: int | None = None
    candidates: int | None = None

    def find(self, queries: np.ndarray, effort: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns indices int32 (Q, k), -1 without an answer, and similarities float32 (Q, k)."""
        indices, similarities = self.searcher.search_batched_parallel(
            queries,
            # ScaNN expects None for an argument that does not apply.
            pre_reorder_num_neighbors=self._candidates(effort),
            leaves_to_search=self._leaves(effort),
        )
        # ScaNN fills missing answers with index 0, which may be the query's own.
        # Signed before the -1: since NumPy 2.5 it is out of bounds for ScaNN's unsigned indices.
        return np.where(np.isfinite(similarities), indices.astype(np.int32), -1), similarities

    def settings(self, effort: int) -> dict[str, int | str | None]:
        """Returns the settings of a search at this effort, with ScaNN's names."""
        if self.num_leaves is None:
            return {"index": "brute force"}
        return {
            "index": "tree and hashing",
            "num_leaves": self.num_leaves,
            "leaves_to_search": self._leaves(effort),
            "candidates": self._candidates(effort),
        }

    def _candidates(self, effort: int) -> int | None:
        return self.candidates and min(self.num_vectors, effort * self.candidates)

    def _leaves(self, effort: int) -> int | None:
        return self.leaves and self.num_leaves and min(self.num_leaves, effort * self.leaves)


def build_index(gallery: np.ndarray, k: int) -> ScannIndex:
    """Builds a brute-force index below 20,000 vectors, else a tree with hashing and rescoring.

    The tree has sqrt(N) leaves. Google's rules use a tree only from 100,000 vectors. On 60,502
    trained embeddings, hashing alone took four times as long as with a tree and missed more, since
    the hashes in a tree encode the small differences from the centre of a leaf.

    Args:
        gallery: Unit rows, float32 (N, D).
        k: Number of answers per query.

    Raises:
        ScannUnusableError: ScaNN does not load.

    Source: https://github.com/google-research/google-research/blob/master/scann/docs/algorithms.md
    """
    num_vectors = len(gallery)
    builder = load_scann().builder(gallery, k, "dot_product")
    if num_vectors < BRUTE_FORCE_BELOW:
        return ScannIndex(builder.score_brute_force().build(), num_vectors)
    num_leaves = round(math.sqrt(num_vectors))
    leaves, candidates = max(1, num_leaves // 20), max(50, 2 * k)
    searcher = (
        builder.tree(num_leaves, leaves, training_sample_size=min(num_vectors, TREE_SAMPLE))
        .score_ah(2, anisotropic_quantization_threshold=0.2)
        .reorder(candidates)
        .build()
    )
    return ScannIndex(searcher, num_vectors, num_leaves, leaves, candidates)
