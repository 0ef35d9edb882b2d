"""Lifted structure loss (Oh Song et al., CVPR 2016)."""

from typing import Any

import keras
from keras import ops

from pa_keras.kernels.tensors import Tensor, TensorLike
from pa_keras.losses._common import distances, share, unit
from pa_keras.losses._validation import check_pairs, expect_positive
from pa_keras.losses.exact_labels import call_with_exact_labels


def lifted_structure(
    labels: TensorLike, embeddings: TensorLike, margin: float = 1.0, normalize: bool = True
) -> Tensor:
    r"""Lifted structure loss: one term for each embedding, whose mean is the loss.

        L = 1/(2 |P|) sum_{(i, j) in P} [J_ij]_+^2,
        J_ij = d_ij + log( sum_{k in N_i} exp(m - d_ik) + sum_{l in N_j} exp(m - d_jl) )

    Here P are the positive pairs, N_i the embeddings of other classes than that of i, d is the
    Euclidean distance, and [x]_+ = max(x, 0). The paper and TensorFlow Addons do not normalize the
    embeddings; PyTorch Metric Learning does.

    Args:
        labels: Class IDs, integers of shape (B,) or (B, 1).
        embeddings: Embeddings (B, D), floating.
        margin: m, a distance, > 0. Default 1.
        normalize: Whether to normalize the embeddings to unit length. Default True.

    Returns:
        float32 (B,). All NaN if an embedding is not finite or if, under XLA, which cannot raise an
        error, a label is bad or the batch lacks such pairs.

    Raises:
        ValueError: If a rank, a dtype or a setting is wrong, or, in eager mode, if the batch has no
            positive or no negative pair.
        tf.errors.InvalidArgumentError: If the batch lacks such pairs, in graph mode.

    Example:
        >>> tuple(lifted_structure([0, 0, 1], [[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]).shape)
        (3,)

    Source: Oh Song et al., Deep Metric Learning via Lifted Structured Feature Embedding, CVPR 2016,
    eq. (4). Sampling: balanced batches.
    """
    expect_positive("margin", margin)
    embeddings, positive, negative, valid = check_pairs(labels, embeddings)
    apart = distances(unit(embeddings) if normalize else embeddings)
    lifted = ops.logsumexp(ops.where(negative, margin - apart, -float("inf")), axis=1)
    pairs = apart + ops.logaddexp(lifted[:, None], lifted[None, :])
    terms = share(0.5 * ops.square(ops.relu(pairs)), positive)
    return ops.where(valid, terms, float("nan"))


@keras.saving.register_keras_serializable("pa_keras")
class LiftedStructureLoss(keras.losses.Loss):
    """Lifted structure loss of class IDs and embeddings; `lifted_structure` gives the formula.

    The model must end with embeddings, without `Proxies`. Batches must be balanced
    (`images_per_class` of 2 or more).

    Args:
        margin: m, a distance, > 0. Default 1.
        normalize: Whether to normalize the embeddings to unit length. Default True.
        reduction: Reduction of the terms, as in Keras. Default "sum_over_batch_size", their mean.
        name: Name of the loss.

    Raises:
        ValueError: As for `lifted_structure`.

    Example:
        >>> loss = LiftedStructureLoss()
        >>> round(float(loss([0, 0, 1, 1], [[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]])), 4)
        0.0746

    Source: Oh Song et al., CVPR 2016, eq. (4).
    """

    def __init__(
        self,
        margin: float = 1.0,
        normalize: bool = True,
        reduction: str | None = "sum_over_batch_size",
        name: str = "lifted_structure",
    ) -> None:
        expect_positive("margin", margin)
        super().__init__(name=name, reduction=reduction, dtype="float32")
        self.margin = margin
        self.normalize = normalize

    __call__ = call_with_exact_labels

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return lifted_structure(y_true, y_pred, self.margin, self.normalize)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "margin": self.margin, "normalize": self.normalize}
