"""Proxy-Anchor loss (Kim et al., CVPR 2020)."""

from typing import Any

import keras
from keras import ops

from pa_keras.kernels import class_log_sums
from pa_keras.kernels.tensors import NOTHING, Tensor, TensorLike
from pa_keras.losses._validation import check_cosines
from pa_keras.losses.exact_labels import call_with_exact_labels


def proxy_anchor(
    labels: TensorLike, similarities: TensorLike, margin: float = 0.1, alpha: float = 32.0
) -> Tensor:
    r"""Proxy-Anchor loss: one term for each proxy, whose mean is the loss of the paper.

        l(X) = 1/|P+| sum_{p in P+} log(1 + sum_{x in X_p+} exp(-alpha (s(x, p) - delta)))
             + 1/C    sum_{p in P}  log(1 + sum_{x in X_p-} exp( alpha (s(x, p) + delta)))

    Here s(x, p) is the cosine of an embedding x of the batch X and one of the C proxies P, P+ are
    the proxies whose class is in the batch, X_p+ the embeddings of the class of p, X_p- the others.

    On several replicas of `tf.distribute`, X is the global batch: each sum runs over all replicas.
    The computation is in float32, by log-sum-exp and softplus, so that no alpha overflows.
    `Model.compile` accepts this function as a loss, too, but only `ProxyAnchorLoss` rejects sample
    weights and class weights, which terms of proxies cannot use.

    Args:
        labels: Class IDs in [0, C), integers of shape (B,) or (B, 1), or one-hot of shape (B, C).
        similarities: Cosines (B, C), floating, C >= 2; the output of `pa_keras.layers.Proxies`.
        margin: delta, a difference of cosines, in [-1, 1]. Default 0.1.
        alpha: Scale, > 0; the larger it is, the more the hardest examples dominate. Default 32.

    Returns:
        float32 (C,): `C / |P+|` times the positive term plus the negative term of each proxy, so
        that their mean over C is eq. (4). All NaN if a cosine is not finite or if, under XLA, which
        cannot raise an error, a label is bad.

    Raises:
        ValueError: If a rank, a width, a dtype or a setting is wrong, or, in eager mode, if a label
            is out of range.
        tf.errors.InvalidArgumentError: If a label is out of range, in graph mode.

    Example:
        >>> terms = proxy_anchor([0, 1, 0], [[1.0, 0.0], [0.0, 1.0], [0.7, 0.7]])
        >>> tuple(terms.shape)
        (2,)

    Source: Kim et al., Proxy Anchor Loss for Deep Metric Learning, CVPR 2020, eq. (4).
    """
    _check_settings(margin, alpha)
    classes, similarities, valid = check_cosines(labels, similarities)
    positive, negative = class_log_sums(classes, similarities, alpha)
    num_present = ops.sum(ops.cast(positive > NOTHING / 2, "float32"))
    # log(1 + sum) as the softplus of log(sum): precise where the sum is far below 1, and finite
    # where the sum would overflow.
    pull, push = ops.softplus(positive + alpha * margin), ops.softplus(negative + alpha * margin)
    terms = pull * (similarities.shape[1] / num_present) + push
    return ops.where(valid, terms, float("nan"))


@keras.saving.register_keras_serializable("pa_keras")
class ProxyAnchorLoss(keras.losses.Loss):
    """Proxy-Anchor loss of class IDs and cosines: `model.compile(loss=ProxyAnchorLoss())`.

    It is the mean of the C terms of `proxy_anchor`, which gives the formula. The model must end
    with a `pa_keras.layers.Proxies` layer. Give `num_classes` to have that checked: without it, the
    loss cannot tell embeddings (B, D) from cosines (B, C).

    Args:
        margin: delta, a difference of cosines, in [-1, 1]. Default 0.1.
        alpha: Scale, > 0. Default 32.
        num_classes: C, at least 2. The width of the cosines is checked against it when the step is
            traced. Default None: no check.
        reduction: Reduction of the terms, as in Keras. Default "sum_over_batch_size", their mean
            over the proxies, which `tf.distribute` also scales correctly.
        name: Name of the loss.

    Raises:
        ValueError: As for `proxy_anchor`; or the width is not `num_classes`; or there is a
            `sample_weight` or `class_weight`, which terms of proxies cannot use.

    Example:
        >>> loss = ProxyAnchorLoss(num_classes=2)
        >>> round(float(loss([0, 1], [[0.9, 0.1], [0.2, 0.8]])), 3)
        8.001

    Source: Kim et al., Proxy Anchor Loss for Deep Metric Learning, CVPR 2020, eq. (4).
    """

    def __init__(
        self,
        margin: float = 0.1,
        alpha: float = 32.0,
        num_classes: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        name: str = "proxy_anchor",
    ) -> None:
        _check_settings(margin, alpha)
        if num_classes is not None and num_classes < 2:
            raise ValueError(f"Expected num_classes of 2 or more, or None; received {num_classes}.")
        super().__init__(name=name, reduction=reduction, dtype="float32")
        self.margin = margin
        self.alpha = alpha
        self.num_classes = num_classes

    def __call__(
        self, y_true: TensorLike, y_pred: TensorLike, sample_weight: TensorLike | None = None
    ) -> Tensor:
        if sample_weight is not None:
            raise ValueError(
                "ProxyAnchorLoss cannot use sample_weight or class_weight: it has one term for "
                "each proxy, not for each sample, so there is nothing that a weight per sample "
                "could multiply. Remove them; to stress a class, draw it more often."
            )
        return call_with_exact_labels(self, y_true, y_pred)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        if self.num_classes is not None and y_pred.shape[-1] != self.num_classes:
            raise ValueError(
                f"Expected cosines of shape (batch, num_classes={self.num_classes}); received "
                f"{tuple(y_pred.shape)}. End the model with Proxies({self.num_classes}): the loss "
                "takes its cosines, not the embeddings."
            )
        return proxy_anchor(y_true, y_pred, self.margin, self.alpha)

    def get_config(self) -> dict[str, Any]:
        config = {"margin": self.margin, "alpha": self.alpha, "num_classes": self.num_classes}
        return {**super().get_config(), **config}


def _check_settings(margin: float, alpha: float) -> None:
    if not alpha > 0:
        raise ValueError(f"Expected alpha > 0; received {alpha}.")
    if not -1 <= margin <= 1:
        raise ValueError(f"Expected margin in [-1, 1], a difference of cosines; received {margin}.")
