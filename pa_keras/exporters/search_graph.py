"""Nearest-neighbour search inside a SavedModel, in TensorFlow ops that a stock server runs."""

from typing import Any

import numpy as np
import tensorflow as tf

from pa_keras.exporters.gallery import Gallery
from pa_keras.retrieval import matches, num_relevant, recall_at_k, search
from pa_keras.retrieval.exact import without_own

_LEAST_BLOCK = 8192  # gallery rows at a time; their float32 copy fits into the processor's cache
_SAMPLE = 2000  # queries to measure the cost of a dtype on


class GalleryIndex(tf.Module):
    """Exact search, block by block, over a gallery that is stored in few bytes.

        s_i = <q, v_i> / |v_i|,   v_i = embedding i, rounded to the gallery's dtype

    Each block is converted to float32 before its product, so that queries are never rounded. Equal
    similarities are in the order of the gallery. int8 rows are rounded to 127 steps of their
    largest component.

    Args:
        gallery: Gallery to search.

    Example:
        >>> gallery = Gallery(np.eye(2, dtype="float32"), ["a", "b"], np.array([0, 1]), ["x", "y"])
        >>> GalleryIndex(gallery)(tf.constant([[0.6, 0.8]]), 1)["ids"].numpy().tolist()
        [[b'b']]
    """

    def __init__(self, gallery: Gallery) -> None:
        super().__init__(name="gallery")
        self._size = len(gallery)
        rows = _rounded(gallery.embeddings, gallery.dtype)
        # Variables, not constants, because a graph of more than 2 GB cannot be written.
        self._rows = tf.Variable(rows, trainable=False, name="rows")
        lengths = np.linalg.norm(rows.astype(np.float32), axis=1)
        self._scales = tf.Variable(1 / np.maximum(lengths, 1e-12), trainable=False, name="scales")
        self._ids = tf.Variable(list(gallery.ids), trainable=False, name="ids")
        labels = np.asarray(gallery.labels, np.int32)
        self._labels = tf.Variable(labels, trainable=False, name="labels")
        self._class_names = tf.Variable(list(gallery.class_names), trainable=False, name="classes")

    def __call__(
        self, embeddings: tf.Tensor, k: int, min_similarity: float | None = None
    ) -> dict[str, tf.Tensor]:
        """Finds the neighbours of each embedding, best first.

        Args:
            embeddings: Embeddings float32 (B, D).
            k: Number of neighbours, 1 to the size of the gallery.
            min_similarity: Least cosine of a match. Default None: without the output `matched`.

        Returns:
            A dict of ids string (B, k), labels string (B, k), similarities float32 (B, k) and, with
            a min_similarity, matched bool (B, k).
        """
        similarities, rows = self.nearest(embeddings, k)
        found = {
            "ids": tf.gather(self._ids, rows),
            "labels": tf.gather(self._class_names, tf.gather(self._labels, rows)),
            "similarities": similarities,
        }
        if min_similarity is None:
            return found
        return {**found, "matched": similarities >= min_similarity}

    def nearest(self, embeddings: tf.Tensor, k: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns similarities float32 (B, k) and gallery rows int32 (B, k) of the nearest."""
        blocks = max(1, self._size // max(_LEAST_BLOCK, k))
        block_size = -(-self._size // blocks)
        queries = _unit_length(embeddings)

        def of_block(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            # The last block starts early enough to be complete; the rows that it repeats do not
            # count.
            start = tf.minimum(number * block_size, self._size - block_size)
            block = slice(start, start + block_size)
            products = tf.matmul(queries, tf.cast(self._rows[block], tf.float32), transpose_b=True)
            is_new = start + tf.range(block_size) >= number * block_size
            similarities = tf.where(is_new, products * self._scales[block], -np.inf)
            best, found = tf.math.top_k(similarities, k)
            return best, found + start

        best, rows = tf.map_fn(
            of_block,
            tf.range(blocks),
            fn_output_signature=(tf.float32, tf.int32),
            parallel_iterations=2,
        )
        best, rows = _side_by_side(best), _side_by_side(rows)
        similarities, places = tf.math.top_k(best, k)
        return similarities, tf.gather(rows, places, batch_dims=1)


def expect_rows(batch: tf.Tensor) -> tf.Tensor:
    """Returns the batch; in a graph, later ops wait for the check that it is not empty.

    Some ops give an empty batch a wrong shape, and the error then appears far from its cause.
    """
    check = tf.debugging.assert_positive(
        tf.shape(batch)[0], "Expected a batch of 1 or more; received 0."
    )
    with tf.control_dependencies([check]):
        return tf.identity(batch)


def measure_gallery(gallery: Gallery, seed: int = 0) -> dict[str, Any]:
    """Measures the cost of the gallery's dtype: a sample of its items searches all others.

    Args:
        gallery: Gallery to measure.
        seed: Seed of the sample of at most 2,000 items. Default 0.

    Returns:
        size, dtype, queries; same_nearest: share of the queries with the same nearest item as in
        float32, [0, 1], None for a single item; recall_at_1_lost: in percentage points, None if no
        query's class has another item.
    """
    size = len(gallery)
    found = {"size": size, "dtype": gallery.dtype, "queries": min(size, _SAMPLE)}
    if size < 2:
        return {**found, "same_nearest": None, "recall_at_1_lost": None}
    drawn = np.random.default_rng(seed).permutation(size)[:_SAMPLE].astype(np.int32)
    queries = np.ascontiguousarray(gallery.embeddings[drawn], np.float32)
    labels = np.asarray(gallery.labels)
    # In eager mode, the blocks would not run in parallel.
    nearest = tf.function(GalleryIndex(gallery).nearest)
    similarities, rows = nearest(tf.constant(queries), 2)
    own, _ = without_own(rows.numpy(), similarities.numpy(), drawn)
    truth = search(queries, gallery.embeddings, 2, method="exact")
    exact, _ = without_own(truth.indices, truth.similarities, drawn)
    answerable = num_relevant(labels)[drawn] > 0
    lost = None
    if answerable.any():
        right, of_dtype = (
            recall_at_k(matches(each, labels[drawn], labels)[answerable], 1).mean()
            for each in (exact, own)
        )
        lost = 100 * float(right - of_dtype)
    same = float((own == exact).mean())
    return {**found, "same_nearest": same, "recall_at_1_lost": lost}


def rounding_error(gallery: Gallery) -> float:
    """Returns the largest distance between an embedding and its stored, rounded one.

    By the Cauchy-Schwarz inequality no similarity changes by more.

    Args:
        gallery: Gallery with embeddings of unit length.

    Example:
        >>> rounding_error(Gallery(np.eye(2, dtype="float32"), ["a", "b"], np.array([0, 0]), ["x"]))
        0.0
    """
    largest = 0.0
    for start in range(0, len(gallery), _LEAST_BLOCK):
        block = gallery.embeddings[start : start + _LEAST_BLOCK]
        rows = _rounded(block, gallery.dtype).astype(np.float32)
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        largest = max(largest, float(np.linalg.norm(rows - block, axis=1).max()))
    return largest


def _unit_length(embeddings: tf.Tensor) -> tf.Tensor:
    """Divides the embeddings by their lengths, which must not be 0."""
    finite = tf.debugging.check_numerics(expect_rows(embeddings), "Expected finite embeddings")
    # First by the largest component, because the square of a tiny or huge one is 0 or infinite.
    largest = tf.reduce_max(tf.abs(finite), axis=1, keepdims=True)
    check = tf.debugging.assert_positive(largest, "Expected embeddings that are not all zeros.")
    with tf.control_dependencies([check]):
        return tf.math.l2_normalize(finite / largest, axis=1)


def _rounded(embeddings: np.ndarray, dtype: str) -> np.ndarray:
    if dtype != "int8":
        return embeddings.astype(tf.dtypes.as_dtype(dtype).as_numpy_dtype)
    largest = np.abs(embeddings).max(axis=1, keepdims=True)
    return np.rint(embeddings * (127 / np.maximum(largest, 1e-12))).astype(np.int8)


def _side_by_side(of_blocks: tf.Tensor) -> tf.Tensor:
    """Reshapes (blocks, B, k) to (B, blocks x k)."""
    blocks, _, k = of_blocks.shape
    return tf.reshape(tf.transpose(of_blocks, (1, 0, 2)), (-1, blocks * k))
