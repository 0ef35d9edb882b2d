"""One ScaNN index, configured by Google's rules, to be searched at several efforts."""

import math
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

# Google's published rule: brute force below it.
BRUTE_FORCE_BELOW = 20_000
# The tree is trained on no more vectors.
TREE_SAMPLE = 250_000


class ScannUnusableError(RuntimeError):
    """ScaNN is missing, does not load, or is not exact enough; the message says which."""


@dataclass(frozen=True)
class ScannIndex:
    """An index, and how much of it effort 1 looks at; effort e looks at e times as much.

    Attributes:
        searcher: ScaNN's own.
        num_vectors: in the index.
        num_leaves: of the tree, or None for brute force.
        leaves: of them that are searched, or None for brute force.
        candidates: vectors whose exact similarity is taken, or None for brute force.
    """

    searcher: Any
    num_vectors: int
    num_leaves: int | None = None
    leaves: int | None = None
    candidates: int | None = None

    def find(self, queries: np.ndarray, effort: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices int32 (Q, k), -1 where no answer was found, and similarities float32 (Q, k)."""
        indices, similarities = self.searcher.search_batched_parallel(
            queries,
            # None is ScaNN's own word for what does not apply.
            pre_reorder_num_neighbors=self._candidates(effort),
            leaves_to_search=self._leaves(effort),
        )
        # ScaNN fills missing answers with index 0, which may be the query's own.
        return np.where(np.isfinite(similarities), indices, -1).astype(np.int32), similarities

    def settings(self, effort: int) -> dict[str, int | str | None]:
        """What a search at this effort does, by ScaNN's words."""
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
    """Brute force under 20,000 vectors; a tree of sqrt(N) leaves, hashing and rescoring above.

    Google's rules plant the tree from 100,000 on only. On 60,502 trained embeddings, hashes alone
    took four times as long as with a tree, and missed more, since the tree's hashes are of the
    small differences from the centre of a leaf.

    Args:
        gallery: float32 (N, D), unit rows.
        k: answers a query.

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


def load_scann() -> ModuleType:
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
