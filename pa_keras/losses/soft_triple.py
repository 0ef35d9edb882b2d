"""SoftTriple loss (Qian et al., ICCV 2019)."""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from pa_keras.losses._common import cross_entropy
from pa_keras.losses._distributed import weighted
from pa_keras.losses._validation import TensorLike, check_cosines, expect_positive, own_class
from pa_keras.losses.exact_labels import call_with_exact_labels


def soft_triple(
    labels: TensorLike,
    similarities: TensorLike,
    scale: float = 20.0,
    gamma: float = 0.1,
    margin: float = 0.01,
) -> tf.Tensor:
    r"""One SoftTriple term per embedding; their mean is the loss.

        S_ic = sum_k softmax_k(s(x_i, w_ck) / gamma) s(x_i, w_ck)
        l_i  = -log( exp(lambda (S_iy - delta))
                     / (exp(lambda (S_iy - delta)) + sum_{c != y} exp(lambda S_ic)) )

    with K centers w_c1 .. w_cK of each class c. The paper adds a pull among the centers of a class,
    which is a regularizer of theirs: `pa_keras.layers.SoftTripleRegularizer`.

    Args:
        labels: class of each row: integers in [0, C) of shape (B,) or (B, 1), or one-hot (B, C).
        similarities: floating cosines of shape (B, C, K), C >= 2, as
            `pa_keras.layers.Proxies(C, centers_per_class=K)` gives.
        scale: lambda, > 0. Default 20.
        gamma: temperature among the centers of a class, > 0. Default 0.1.
        margin: delta, a difference of cosines. Default 0.01.

    Returns:
        float32 (B,). NaN where a cosine is not finite and, under XLA, which cannot raise, for bad
        labels.

    Raises:
        ValueError: wrong rank, width or dtype, a setting out of its range, or (eagerly) a label out
            of range.
        tf.errors.InvalidArgumentError: a label out of range, in a graph.

    Example:
        >>> soft_triple([0, 1], [[[1.0, 0.9], [0.0, 0.1]], [[0.0, 0.1], [0.3, 1.0]]]).shape
        TensorShape([2])

    Source: Qian et al., SoftTriple Loss: Deep Metric Learning Without Triplet Sampling, ICCV 2019,
    eq. (8) and (9), settings of section 4; sampling: random batches.
    """
    expect_positive("scale", scale)
    expect_positive("gamma", gamma)
    similarities = ops.convert_to_tensor(similarities)
    if not similarities.dtype.is_floating or len(similarities.shape) != 3:
        raise ValueError(
            "Expected similarities as floating cosines of shape (batch, num_classes, "
            f"centers_per_class); received {similarities.dtype.name} of shape "
            f"{tuple(similarities.shape)}. End the model with Proxies(num_classes, "
            "centers_per_class=10)."
        )
    similarities = ops.cast(similarities, "float32")
    # Not by keras.ops, which warns of a single center.
    relaxed = ops.sum(tf.nn.softmax(similarities / gamma, axis=2) * similarities, axis=2)
    classes, relaxed, valid = check_cosines(labels, relaxed)
    own = own_class(classes, relaxed)
    logits = scale * ops.where(own, relaxed - margin, relaxed)
    return ops.where(valid, weighted(cross_entropy(logits, own)), float("nan"))


@keras.saving.register_keras_serializable("pa_keras")
class SoftTripleLoss(keras.losses.Loss):
    """SoftTriple loss of class ids and cosines; the formula is at `soft_triple`.

    The model must end with `pa_keras.layers.Proxies(num_classes, centers_per_class=10,
    regularizer=SoftTripleRegularizer())`, or with other settings of these. Random batches; the
    authors let the centers learn at 100 times the rate of the network (`two_rate_adamw`).

    Args:
        scale: lambda, > 0. Default 20.
        gamma: temperature among the centers of a class, > 0. Default 0.1.
        margin: delta, a difference of cosines. Default 0.01.
        reduction: as in Keras. Default "sum_over_batch_size", the mean over the batch.
        name: name of the loss.

    Raises:
        ValueError: as `soft_triple`.

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

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        return soft_triple(y_true, y_pred, self.scale, self.gamma, self.margin)

    def get_config(self) -> dict[str, Any]:
        config = {"scale": self.scale, "gamma": self.gamma, "margin": self.margin}
        return {**super().get_config(), **config}
