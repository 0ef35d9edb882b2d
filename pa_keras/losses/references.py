"""Embeddings of other batches, with which a pair loss can compare a batch."""

from typing import NamedTuple

import tensorflow as tf


class References(NamedTuple):
    """Embeddings that a pair loss compares a batch with, in place of the batch itself.

    Attributes:
        embeddings: Embeddings (M, D), float32.
        labels: Their class IDs, int64 (M,).
        compared: Whether a row of the global batch is compared with a reference, bool (B, M).

    Example:
        >>> from pa_keras.losses import contrastive
        >>> rows, everything = [[1.0, 0.0], [0.0, 1.0]], tf.ones((2, 2), tf.bool)
        >>> contrastive([0, 1], rows, references=References(rows, [0, 1], everything)).shape
        TensorShape([2])
    """

    embeddings: tf.Tensor
    labels: tf.Tensor
    compared: tf.Tensor
