"""SoftTriple loss (Qian et al., ICCV 2019)."""

from typing import Any

import keras
from keras import ops

from pa_keras.kernels import weighted
from pa_keras.kernels.tensors import Tensor, TensorLike
from pa_keras.losses._common import cross_entropy
from pa_keras.losses._validation import (
    check_centers,
    check_cosines,
    expect_positive,
    own_class,
)
from pa_keras.losses.exact_labels import call_with_exact_labels


def soft_triple(
    labels: TensorLike,
    similarities: TensorLike,
    scale: float = 20.0,
    gamma: float = 0.1,
    margin: float = 0.01,
) -> Tensor:
    r"""SoftTriple loss: one term for each embedding, whose mean is the loss.

        S_ic = sum_k softmax_k(s(x_i, w_ck) / gamma) s(x_i, w_ck)
        l_i  = -log( exp(lambda (S_iy - delta))
                     / (exp(lambda (S_iy - delta)) + sum_{c != y} exp(lambda S_ic)) )

    Each class c has K centers w_c1 .. w_cK. The paper adds a term that pulls the centers of a class
    together; here it is a regularizer: `pa_keras.layers.SoftTripleRegularizer`.

    Args:
        labels: Class IDs in [0, C), integers of shape (B,) or (B, 1), or one-hot of shape (B, C).
        similarities: Cosines (B, C, K), floating, C >= 2; the output of
            `pa_keras.layers.Proxies(C, centers_per_class=K)`.
        scale: lambda, > 0. Default 20.
        gamma: Temperature of the softmax over the centers of a class, > 0. Default 0.1.
        margin: delta, a difference of cosines. Default 0.01.

    Returns:
        float32 (B,). All NaN if a cosine is not finite or if, under XLA, which cannot raise an
        error, a label is bad.

    Raises:
        ValueError: If a rank, a width, a dtype or a setting is wrong, or, in eager mode, if a label
            is out of range.
        tf.errors.InvalidArgumentError: If a label is out of range, in graph mode.

    Example:
        >>> tuple(soft_triple([0, 1], [[[1.0, 0.9], [0.0, 0.1]], [[0.0, 0.1], [0.3, 1.0]]]).shape)
        (2,)

    Source: Qian et al., SoftTriple Loss: Deep Metric Learning Without Triplet Sampling, ICCV 2019,
    eq. (8) and (9), with the settings of section 4. Sampling: random batches.
    """
    expect_positive("scale", scale)
    expect_positive("gamma", gamma)
    similarities, _ = check_centers(similarities)  # the sum below keeps what is not finite
    if similarities.shape[2] == 1:  # keras.ops.softmax would warn about it
        relaxed = similarities[:, :, 0]
    else:
        relaxed = ops.sum(ops.softmax(similarities / gamma, axis=2) * similarities, axis=2)
    classes, relaxed, valid = check_cosines(labels, relaxed)
    own = own_class(classes, relaxed)
    logits = scale * ops.where(own, relaxed - margin, relaxed)
    return ops.where(valid, weighted(cross_entropy(logits, own)), float("nan"))


@keras.saving.register_keras_serializable("pa_keras")
class SoftTripleLoss(keras.losses.Loss):
    """SoftTriple loss of class IDs and cosines; `soft_triple` gives the formula.

    The model must end with `pa_keras.layers.Proxies(num_classes, centers_per_class=10,
    regularizer=SoftTripleRegularizer())`, or the same with other settings. Use random batches. The
    authors train the centers at 100 times the learning rate of the network (`two_rate_adamw`).

    Args:
        scale: lambda, > 0. Default 20.
        gamma: Temperature of the softmax over the centers of a class, > 0. Default 0.1.
        margin: delta, a difference of cosines. Default 0.01.
        reduction: Reduction of the terms, as in Keras. Default "sum_over_batch_size", their mean.
        name: Name of the loss.

    Raises:
        ValueError: As for `soft_triple`.

    Example:
        >>> loss = SoftTripleLoss(scale=1.0, margin=0.0)
        >>> round(float(loss([0, 1], [[[1.0], [0.0]], [[0.0], [1.0]]])), 4)
        0.3133

    Source: Qian et al., ICCV 2019, eq. (9).
    """

    def __init__(
        self,
        scale: float = 20.0,
        gamma: float = 0.1,
        margin: float = 0.01,
        reduction: str | None = "sum_over_batch_size",
        name: str = "soft_triple",
    ) -> None:
        expect_positive("scale", scale)
        expect_positive("gamma", gamma)
        super().__init__(name=name, reduction=reduction, dtype="float32")
        self.scale = scale
        self.gamma = gamma
        self.margin = margin

    __call__ = call_with_exact_labels

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return soft_triple(y_true, y_pred, self.scale, self.gamma, self.margin)

    def get_config(self) -> dict[str, Any]:
        config = {"scale": self.scale, "gamma": self.gamma, "margin": self.margin}
        return {**super().get_config(), **config}
