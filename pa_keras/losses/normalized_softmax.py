"""Normalized softmax loss (Zhai and Wu, BMVC 2019)."""

from typing import Any

import keras
from keras import ops

from pa_keras.kernels import weighted
from pa_keras.kernels.tensors import Tensor, TensorLike
from pa_keras.losses._common import cross_entropy
from pa_keras.losses._validation import check_cosines, expect_positive, own_class
from pa_keras.losses.exact_labels import call_with_exact_labels


def normalized_softmax(
    labels: TensorLike, similarities: TensorLike, temperature: float = 0.05
) -> Tensor:
    r"""Normalized softmax loss: one term for each embedding, whose mean is the loss.

        l(x) = -log( exp(s(x, p_y) / sigma) / sum_z exp(s(x, p_z) / sigma) )

    Here s(x, p_z) is the cosine of an embedding x and the proxy of class z, and y the class of x.

    Args:
        labels: Class IDs in [0, C), integers of shape (B,) or (B, 1), or one-hot of shape (B, C).
        similarities: Cosines (B, C), floating, C >= 2; the output of `pa_keras.layers.Proxies`.
        temperature: sigma, > 0. Default 0.05.

    Returns:
        float32 (B,). All NaN if a cosine is not finite or if, under XLA, which cannot raise an
        error, a label is bad.

    Raises:
        ValueError: If a rank, a width, a dtype or a setting is wrong, or, in eager mode, if a label
            is out of range.
        tf.errors.InvalidArgumentError: If a label is out of range, in graph mode.

    Example:
        >>> tuple(normalized_softmax([0, 1], [[1.0, 0.0], [0.0, 1.0]], temperature=1.0).shape)
        (2,)

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
    """Normalized softmax loss of class IDs and cosines; `normalized_softmax` gives the formula.

    The model must end with a `pa_keras.layers.Proxies` layer, whose proxies are the rows of the
    classifier. Use random or balanced batches (the paper uses 5 or more images for each class).

    Args:
        temperature: sigma, > 0. Default 0.05.
        reduction: Reduction of the terms, as in Keras. Default "sum_over_batch_size", their mean.
        name: Name of the loss.

    Raises:
        ValueError: As for `normalized_softmax`.

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

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return normalized_softmax(y_true, y_pred, self.temperature)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "temperature": self.temperature}
