"""CosFace loss (Wang et al., CVPR 2018)."""

from typing import Any

import keras
from keras import ops

from pa_keras.kernels import weighted
from pa_keras.kernels.tensors import Tensor, TensorLike
from pa_keras.losses._common import cross_entropy
from pa_keras.losses._validation import check_cosines, expect_positive, own_class
from pa_keras.losses.exact_labels import call_with_exact_labels


def cosface(
    labels: TensorLike, similarities: TensorLike, margin: float = 0.35, scale: float = 64.0
) -> Tensor:
    r"""CosFace loss: one term for each embedding, whose mean is the loss.

        l_i = -log( exp(s (cos(theta_iy) - m)) / (exp(s (cos(theta_iy) - m))
                                                  + sum_{j != y_i} exp(s cos(theta_ij))) )

    Here theta_ij is the angle between embedding i and proxy j, and y is y_i, the class of i.

    Args:
        labels: Class IDs in [0, C), integers of shape (B,) or (B, 1), or one-hot of shape (B, C).
        similarities: Cosines (B, C), floating, C >= 2; the output of `pa_keras.layers.Proxies`.
        margin: m, a difference of cosines. Default 0.35.
        scale: s, > 0. Default 64.

    Returns:
        float32 (B,). All NaN if a cosine is not finite or if, under XLA, which cannot raise an
        error, a label is bad.

    Raises:
        ValueError: If a rank, a width, a dtype or a setting is wrong, or, in eager mode, if a label
            is out of range.
        tf.errors.InvalidArgumentError: If a label is out of range, in graph mode.

    Example:
        >>> tuple(cosface([0, 1], [[1.0, 0.0], [0.0, 1.0]], margin=0.0, scale=1.0).shape)
        (2,)

    Source: Wang et al., CosFace: Large Margin Cosine Loss for Deep Face Recognition, CVPR
    2018, eq. (4).
    """
    expect_positive("scale", scale)
    classes, similarities, valid = check_cosines(labels, similarities)
    own = own_class(classes, similarities)
    logits = scale * ops.where(own, similarities - margin, similarities)
    return ops.where(valid, weighted(cross_entropy(logits, own)), float("nan"))


@keras.saving.register_keras_serializable("pa_keras")
class CosFaceLoss(keras.losses.Loss):
    """CosFace loss of class IDs and cosines; `cosface` gives the formula.

    The model must end with a `pa_keras.layers.Proxies` layer, whose proxies are the rows of the
    classifier. Use random batches.

    Args:
        margin: m, a difference of cosines. Default 0.35.
        scale: s, > 0. Default 64.
        reduction: Reduction of the terms, as in Keras. Default "sum_over_batch_size", their mean.
        name: Name of the loss.

    Raises:
        ValueError: As for `cosface`.

    Example:
        >>> loss = CosFaceLoss(margin=0.0, scale=1.0)
        >>> round(float(loss([0, 1], [[1.0, 0.0], [0.0, 1.0]])), 4)
        0.3133

    Source: Wang et al., CosFace: Large Margin Cosine Loss for Deep Face Recognition, CVPR
    2018, eq. (4).
    """

    def __init__(
        self,
        margin: float = 0.35,
        scale: float = 64.0,
        reduction: str | None = "sum_over_batch_size",
        name: str = "cosface",
    ) -> None:
        expect_positive("scale", scale)
        super().__init__(name=name, reduction=reduction, dtype="float32")
        self.margin = margin
        self.scale = scale

    __call__ = call_with_exact_labels

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return cosface(y_true, y_pred, self.margin, self.scale)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "margin": self.margin, "scale": self.scale}
