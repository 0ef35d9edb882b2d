"""Exact search: the oracle that everything approximate is measured against."""

import numpy as np
import tensorflow as tf

# Similarities held at once, 4 bytes each: 128 MB, however large the gallery is.
BLOCK_SIZE = 2**25


def exact_neighbours(
    queries: np.ndarray, gallery: np.ndarray, k: int, own: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k largest inner products of each query with the gallery, in blocks of queries.

    Args:
        queries: float32 (Q, D).
        gallery: float32 (N, D).
        k: neighbours a query, at most N, or N - 1 with `own`.
        own: int (Q,), the index of each query in the gallery, left out of its answers.
            Default None: nothing is left out.

    Returns:
        indices int32 (Q, k) and similarities float32 (Q, k), best first, equal similarities by
        lower index.
    """
    indices = np.empty((len(queries), k), np.int32)
    similarities = np.empty((len(queries), k), np.float32)
    gallery = tf.constant(gallery)
    rows = max(1, min(1024, BLOCK_SIZE // len(gallery)))
    for start in range(0, len(queries), rows):
        block = slice(start, start + rows)
        values, found = _top_k(queries[block], gallery, k if own is None else k + 1)
        found, values = found.numpy(), values.numpy()
        if own is not None:
            found, values = without_own(found, values, own[block])
        indices[block], similarities[block] = found, values
    return indices, similarities


def without_own(
    indices: np.ndarray, similarities: np.ndarray, own: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Drop each query's own index from its k + 1 answers, or the last where it is not there.

    By index, not "the first answer": where an image repeats, its copy may come before itself.

    Args:
        indices: int32 (Q, k + 1).
        similarities: float32 (Q, k + 1).
        own: int (Q,).

    Returns:
        indices int32 (Q, k) and similarities float32 (Q, k), in the order they had.
    """
    kept = indices != own[:, None]
    kept[:, -1] &= ~kept.all(axis=1)
    shape = (len(indices), indices.shape[1] - 1)
    return indices[kept].reshape(shape), similarities[kept].reshape(shape)


# The signature leaves every size open, so that a last, smaller block does not trace again.
# TensorFlow rather than NumPy: argpartition and sort cost more than the product itself.
@tf.function(
    input_signature=[
        tf.TensorSpec((None, None), tf.float32),
        tf.TensorSpec((None, None), tf.float32),
        tf.TensorSpec((), tf.int32),
    ]
)
def _top_k(queries: tf.Tensor, gallery: tf.Tensor, k: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.math.top_k(tf.matmul(queries, gallery, transpose_b=True), k)
