"""CosFace loss (Wang et al., CVPR 2018)."""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from pa_keras.losses._common import cross_entropy
from pa_keras.losses._distributed import weighted
from pa_keras.losses._validation import TensorLike, check_cosines, expect_positive, own_class
from pa_keras.losses.exact_labels import call_with_exact_labels


def cosface(
    labels: TensorLike, similarities: TensorLike, margin: float = 0.35, scale: float = 64.0
) -> tf.Tensor:
    r"""One CosFace loss term per embedding; their mean is the loss.

        l(x) = -log( exp(sigma (s(x, p_y) - m)) / (exp(sigma (s(x, p_y) - m))
                                                 + sum_{z != y} exp(sigma s(x, p_z))) )

    Args:
        labels: class of each row: integers in [0, C) of shape (B,) or (B, 1), or one-hot (B, C).
        similarities: floating cosines of shape (B, C), C >= 2, as `pa_keras.layers.Proxies` gives.
        margin: m, in units of cosine. Default 0.35.
        scale: sigma, > 0. Default 64.

    Returns:
        float32 (B,). NaN where a cosine is not finite and, under XLA, which cannot raise, for bad
        labels.

    Raises:
        ValueError: wrong rank, width or dtype, a setting out of its range, or (eagerly) a label out
            of range.
        tf.errors.InvalidArgumentError: a label out of range, in a graph.

    Example:
        >>> cosface([0, 1], [[1.0, 0.0], [0.0, 1.0]], margin=0.0, scale=1.0).shape
        TensorShape([2])

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
    """CosFace loss of class ids and cosines; the formula is at `cosface`.

    The model must end with a `pa_keras.layers.Proxies` layer, whose proxies are the rows of the
    classifier. Random batches.

    Args:
        margin: m, in units of cosine. Default 0.35.
        scale: sigma, > 0. Default 64.
        reduction: as in Keras. Default "sum_over_batch_size", the mean over the batch.
        name: name of the loss.

    Raises:
        ValueError: as `cosface`.

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

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        return cosface(y_true, y_pred, self.margin, self.scale)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "margin": self.margin, "scale": self.scale}
