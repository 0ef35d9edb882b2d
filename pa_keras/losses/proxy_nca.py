"""Proxy-NCA loss (Movshovitz-Attias et al., ICCV 2017)."""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from pa_keras.losses._common import cross_entropy
from pa_keras.losses._distributed import weighted
from pa_keras.losses._validation import TensorLike, check_cosines, expect_positive, own_class
from pa_keras.losses.exact_labels import call_with_exact_labels


def proxy_nca(
    labels: TensorLike,
    similarities: TensorLike,
    scale: float = 32.0,
    target_in_denominator: bool = False,
) -> tf.Tensor:
    r"""One Proxy-NCA term per embedding; their mean is the loss.

        l(x) = -log( exp(-sigma d(x, p_y)) / sum_{z in Z} exp(-sigma d(x, p_z)) ),
        d(x, p) = ||x - p||^2 = 2 - 2 s(x, p)   of unit vectors

    In the paper Z are the proxies of the other classes; much code, PyTorch Metric Learning's among
    it, keeps the target proxy in Z, which makes it a softmax: `target_in_denominator`.

    Args:
        labels: class of each row: integers in [0, C) of shape (B,) or (B, 1), or one-hot (B, C).
        similarities: floating cosines of shape (B, C), C >= 2, as `pa_keras.layers.Proxies` gives.
        scale: sigma, of squared distances, > 0. Default 32, as in the Proxy-Anchor authors'
            comparison; the paper has none but the proxies' length.
        target_in_denominator: whether Z is all proxies. Default False, as in the paper.

    Returns:
        float32 (B,). NaN where a cosine is not finite and, under XLA, which cannot raise, for bad
        labels.

    Raises:
        ValueError: wrong rank, width or dtype, a scale of 0 or below, or (eagerly) a label out of
            range.
        tf.errors.InvalidArgumentError: a label out of range, in a graph.

    Example:
        >>> proxy_nca([0, 1], [[1.0, 0.0], [0.0, 1.0]], scale=1.0).numpy().tolist()
        [-2.0, -2.0]

    Source: Movshovitz-Attias et al., No Fuss Distance Metric Learning Using Proxies, ICCV 2017,
    eq. (4); sampling: random batches.
    """
    expect_positive("scale", scale)
    classes, similarities, valid = check_cosines(labels, similarities)
    own = own_class(classes, similarities)
    logits = 2 * scale * (similarities - 1)
    terms = weighted(cross_entropy(logits, own, target_in_denominator))
    return ops.where(valid, terms, float("nan"))


@keras.saving.register_keras_serializable("pa_keras")
class ProxyNCALoss(keras.losses.Loss):
    """Proxy-NCA loss of class ids and cosines; the formula is at `proxy_nca`.

    The model must end with a `pa_keras.layers.Proxies` layer. Random batches; the proxies learn at
    the rate of the rest in the paper, and faster (`two_rate_adamw`) if you like.

    Args:
        scale: sigma, of squared distances, > 0. Default 32.
        target_in_denominator: whether the target proxy is in the denominator. Default False.
        reduction: as in Keras. Default "sum_over_batch_size", the mean over the batch.
        name: name of the loss.

    Raises:
        ValueError: as `proxy_nca`.

    Example:
        >>> loss = ProxyNCALoss(scale=1.0)
        >>> float(loss([0, 1], [[1.0, 0.0], [0.0, 1.0]]))
        -2.0

    Source: Movshovitz-Attias et al., ICCV 2017, eq. (4).
    """

    def __init__(
        self,
        scale: float = 32.0,
        target_in_denominator: bool = False,
        reduction: str | None = "sum_over_batch_size",
        name: str = "proxy_nca",
    ) -> None:
        expect_positive("scale", scale)
        super().__init__(name=name, reduction=reduction, dtype="float32")
        self.scale = scale
        self.target_in_denominator = target_in_denominator

    __call__ = call_with_exact_labels

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        return proxy_nca(y_true, y_pred, self.scale, self.target_in_denominator)

    def get_config(self) -> dict[str, Any]:
        config = {"scale": self.scale, "target_in_denominator": self.target_in_denominator}
        return {**super().get_config(), **config}
