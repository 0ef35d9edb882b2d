"""Embeddings of other batches, with which a pair loss can compare a batch."""

from typing import NamedTuple

from pa_keras.kernels.tensors import Tensor


class References(NamedTuple):
    """Embeddings that a pair loss compares a batch with, in place of the batch itself.

    Attributes:
        embeddings: Embeddings (M, D), float32.
        labels: Their class IDs, integers (M,).
        compared: Whether a row of the global batch is compared with a reference, bool (B, M).

    Example:
        >>> from pa_keras.losses import contrastive
        >>> rows, everything = np.eye(2, dtype="float32"), np.ones((2, 2), bool)
        >>> tuple(contrastive([0, 1], rows, references=References(rows, [0, 1], everything)).shape)
        (2,)
    """

    embeddings: Tensor
    labels: Tensor
    compared: Tensor
