"""Normalized softmax loss (Zhai and Wu, BMVC 2019)."""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from pa_keras.losses._common import cross_entropy
from pa_keras.losses._distributed import weighted
from pa_keras.losses._validation import TensorLike, check_cosines, expect_positive, own_class
from pa_keras.losses.exact_labels import call_with_exact_labels


def normalized_softmax(
    labels: TensorLike, similarities: TensorLike, temperature: float = 0.05
) -> tf.Tensor:
    r"""One Normalized softmax loss term per embedding; their mean is the loss.

        l(x) = -log( exp(s(x, p_y) / sigma) / sum_z exp(s(x, p_z) / sigma) )

    Args:
        labels: class of each row: integers in [0, C) of shape (B,) or (B, 1), or one-hot (B, C).
        similarities: floating cosines of shape (B, C), C >= 2, as `pa_keras.layers.Proxies` gives.
        temperature: sigma, > 0. Default 0.05.

    Returns:
        float32 (B,). NaN where a cosine is not finite and, under XLA, which cannot raise, for bad
        labels.

    Raises:
        ValueError: wrong rank, width or dtype, a setting out of its range, or (eagerly) a label out
            of range.
        tf.errors.InvalidArgumentError: a label out of range, in a graph.

    Example:
        >>> normalized_softmax([0, 1], [[1.0, 0.0], [0.0, 1.0]], temperature=1.0).shape
        TensorShape([2])

    Source: Zhai and Wu, Classification is a Strong Baseline for Deep Metric Learning, BMVC
    2019, eq. (2).
    """
    expect_positive("temperature", temperature)
    classes, similarities, valid = check_cosines(labels, similarities)
    own = own_class(classes, similarities)
    logits = similarities / temperature
    return ops.where(valid, weighted(cross_entropy(logits, own)), float("nan"))


@keras.saving.register_keras_serializable("pa_keras")
class NormalizedSoftmaxLoss(keras.losses.Loss):
    """Normalized softmax loss of class ids and cosines; the formula is at `normalized_softmax`.

    The model must end with a `pa_keras.layers.Proxies` layer, whose proxies are the rows of the
    classifier. Random or balanced batches (the paper: 5 images a class or
    more).

    Args:
        temperature: sigma, > 0. Default 0.05.
        reduction: as in Keras. Default "sum_over_batch_size", the mean over the batch.
        name: name of the loss.

    Raises:
        ValueError: as `normalized_softmax`.

    Example:
        >>> loss = NormalizedSoftmaxLoss(temperature=1.0)
        >>> round(float(loss([0, 1], [[1.0, 0.0], [0.0, 1.0]])), 4)
        0.3133

    Source: Zhai and Wu, Classification is a Strong Baseline for Deep Metric Learning, BMVC
    2019, eq. (2).
    """

    def __init__(
        self,
        temperature: float = 0.05,
        reduction: str | None = "sum_over_batch_size",
        name: str = "normalized_softmax",
    ) -> None:
        expect_positive("temperature", temperature)
        super().__init__(name=name, reduction=reduction, dtype="float32")
        self.temperature = temperature

    __call__ = call_with_exact_labels

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        return normalized_softmax(y_true, y_pred, self.temperature)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "temperature": self.temperature}
