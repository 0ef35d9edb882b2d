"""Proxy-Anchor loss (Kim et al., CVPR 2020)."""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from pa_keras.losses._class_logsumexp import NOTHING, class_log_sums
from pa_keras.losses._distributed import log_added
from pa_keras.losses._validation import TensorLike, check_cosines
from pa_keras.losses.exact_labels import call_with_exact_labels


def proxy_anchor(
    labels: TensorLike, similarities: TensorLike, margin: float = 0.1, alpha: float = 32.0
) -> tf.Tensor:
    r"""One Proxy-Anchor term per proxy; their mean is the paper's loss.

    With s(x, p) the cosine of an embedding x of the batch X and a proxy p of the C proxies P,
    P+ the proxies whose class is in the batch, X_p+ the embeddings of p's class, X_p- the others:

        l(X) = 1/|P+| sum_{p in P+} log(1 + sum_{x in X_p+} exp(-alpha (s(x, p) - delta)))
             + 1/C    sum_{p in P}  log(1 + sum_{x in X_p-} exp( alpha (s(x, p) + delta)))

    On several replicas of `tf.distribute` X is the whole batch: each sum goes on over the replicas.
    Everything is computed in float32 by log-sum-exp and softplus, so no alpha overflows.
    `compile` also takes this function as its loss, but `ProxyAnchorLoss` refuses the weights of
    samples and classes, which terms of proxies cannot honour.

    Args:
        labels: class of each row: integers in [0, C) of shape (B,) or (B, 1), or one-hot (B, C).
        similarities: floating cosines of shape (B, C), C >= 2, as `pa_keras.layers.Proxies` gives.
        margin: delta, in units of cosine. Default 0.1.
        alpha: scale, > 0: how sharply the hardest examples dominate. Default 32.

    Returns:
        float32 (C,): `C / |P+|` times the positive term plus the negative term of each proxy.
        All NaN where a cosine is not finite and, under XLA, which cannot raise, for bad labels.

    Raises:
        ValueError: wrong rank, width or dtype, or (eagerly) a label out of range.
        tf.errors.InvalidArgumentError: a label out of range, in a graph.

    Example:
        >>> terms = proxy_anchor([0, 1, 0], [[1.0, 0.0], [0.0, 1.0], [0.7, 0.7]])
        >>> terms.shape
        TensorShape([2])

    Source: Kim et al., Proxy Anchor Loss for Deep Metric Learning, CVPR 2020, eq. (4).
    """
    _check_settings(margin, alpha)
    classes, similarities, valid = check_cosines(labels, similarities)
    positive, negative = log_added(class_log_sums(classes, similarities, alpha))
    num_present = ops.sum(ops.cast(positive > NOTHING / 2, "float32"))
    # softplus of a log of a sum keeps full precision both where the sum is far below 1 and where
    # its exponential would overflow.
    pull, push = ops.softplus(positive + alpha * margin), ops.softplus(negative + alpha * margin)
    terms = pull * (similarities.shape[1] / num_present) + push
    return ops.where(valid, terms, float("nan"))


@keras.saving.register_keras_serializable("pa_keras")
class ProxyAnchorLoss(keras.losses.Loss):
    """Proxy-Anchor loss of class ids and cosines: `model.compile(loss=ProxyAnchorLoss())`.

    The mean of the C terms of `proxy_anchor`, where the formula is. The model must end with a
    `pa_keras.layers.Proxies` layer: (B, D) embeddings given in place of (B, C) cosines cannot be
    told apart by their shape unless `num_classes` is given.

    Args:
        margin: delta, in units of cosine. Default 0.1.
        alpha: scale, > 0. Default 32.
        num_classes: C; the width of the cosines is then checked when the step is traced.
            Default None: not checked.
        reduction: as in Keras; the default, "sum_over_batch_size", is the mean over the proxies,
            which also scales right under `tf.distribute`.
        name: name of the loss.

    Raises:
        ValueError: as `proxy_anchor`; a width other than `num_classes`; a `sample_weight` or
            `class_weight`, which one term per proxy cannot honour.

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
    ) -> tf.Tensor:
        if sample_weight is not None:
            raise ValueError(
                "ProxyAnchorLoss cannot use sample_weight or class_weight: it has one term for "
                "each proxy, not for each sample, so there is nothing that a weight per sample "
                "could multiply. Remove them; to stress a class, draw it more often."
            )
        return call_with_exact_labels(self, y_true, y_pred)

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
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
