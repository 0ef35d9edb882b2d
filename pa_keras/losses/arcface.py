"""ArcFace loss (Deng et al., CVPR 2019)."""

import math
from typing import Any

import keras
from keras import ops

from pa_keras.kernels import weighted
from pa_keras.kernels.tensors import Tensor, TensorLike
from pa_keras.losses._common import cross_entropy
from pa_keras.losses._validation import check_cosines, expect_positive, own_class
from pa_keras.losses.exact_labels import call_with_exact_labels


def arcface(
    labels: TensorLike, similarities: TensorLike, margin: float = 0.5, scale: float = 64.0
) -> Tensor:
    r"""ArcFace loss: one term for each embedding, whose mean is the loss.

        l_i = -log( exp(s t_i) / (exp(s t_i) + sum_{j != y_i} exp(s cos(theta_ij))) ),
        t_i = cos(theta_iy + m)           if theta_iy <= pi - m
              cos(theta_iy) - m sin(m)    otherwise, so that t_i decreases everywhere

    Here theta_ij is the angle between embedding i and proxy j, and y is y_i, the class of i.

    Args:
        labels: Class IDs in [0, C), integers of shape (B,) or (B, 1), or one-hot of shape (B, C).
        similarities: Cosines (B, C), floating, C >= 2; the output of `pa_keras.layers.Proxies`.
        margin: m, an angle in radians, in [0, pi). Default 0.5.
        scale: s, > 0. Default 64.

    Returns:
        float32 (B,). All NaN if a cosine is not finite or if, under XLA, which cannot raise an
        error, a label is bad.

    Raises:
        ValueError: If a rank, a width, a dtype or a setting is wrong, or, in eager mode, if a label
            is out of range.
        tf.errors.InvalidArgumentError: If a label is out of range, in graph mode.

    Example:
        >>> tuple(arcface([0, 1], [[1.0, 0.0], [0.0, 1.0]], margin=0.0, scale=1.0).shape)
        (2,)

    Source: Deng et al., ArcFace: Additive Angular Margin Loss for Deep Face Recognition, CVPR
    2019, eq. (3). The second case of t_i is from the authors' code.
    """
    expect_positive("scale", scale)
    if not 0 <= margin < math.pi:
        raise ValueError(f"Expected margin in [0, pi), an angle in radians; received {margin}.")
    classes, similarities, valid = check_cosines(labels, similarities)
    own = own_class(classes, similarities)
    # cos(theta + m) without arccos, whose gradient at 1 is infinite.
    cosine = ops.clip(similarities, -1 + 1e-7, 1 - 1e-7)
    turned = cosine * math.cos(margin) - ops.sqrt(1 - ops.square(cosine)) * math.sin(margin)
    straight = similarities - margin * math.sin(margin)
    target = ops.where(cosine >= -math.cos(margin), turned, straight)
    logits = scale * ops.where(own, target, similarities)
    return ops.where(valid, weighted(cross_entropy(logits, own)), float("nan"))


@keras.saving.register_keras_serializable("pa_keras")
class ArcFaceLoss(keras.losses.Loss):
    """ArcFace loss of class IDs and cosines; `arcface` gives the formula.

    The model must end with a `pa_keras.layers.Proxies` layer, whose proxies are the rows of the
    classifier. Use random batches.

    Args:
        margin: m, an angle in radians, in [0, pi). Default 0.5.
        scale: s, > 0. Default 64.
        reduction: Reduction of the terms, as in Keras. Default "sum_over_batch_size", their mean.
        name: Name of the loss.

    Raises:
        ValueError: As for `arcface`.

    Example:
        >>> loss = ArcFaceLoss(margin=0.0, scale=1.0)
        >>> round(float(loss([0, 1], [[1.0, 0.0], [0.0, 1.0]])), 4)
        0.3133

    Source: Deng et al., ArcFace: Additive Angular Margin Loss for Deep Face Recognition, CVPR
    2019, eq. (3). The second case of t_i is from the authors' code.
    """

    def __init__(
        self,
        margin: float = 0.5,
        scale: float = 64.0,
        reduction: str | None = "sum_over_batch_size",
        name: str = "arcface",
    ) -> None:
        expect_positive("scale", scale)
        if not 0 <= margin < math.pi:
            raise ValueError(f"Expected margin in [0, pi), an angle in radians; received {margin}.")
        super().__init__(name=name, reduction=reduction, dtype="float32")
        self.margin = margin
        self.scale = scale

    __call__ = call_with_exact_labels

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return arcface(y_true, y_pred, self.margin, self.scale)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "margin": self.margin, "scale": self.scale}
