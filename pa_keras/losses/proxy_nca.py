"""Proxy-NCA loss (Movshovitz-Attias et al., ICCV 2017)."""

from typing import Any

import keras
from keras import ops

from pa_keras.kernels import weighted
from pa_keras.kernels.tensors import Tensor, TensorLike
from pa_keras.losses._common import cross_entropy
from pa_keras.losses._validation import check_cosines, expect_positive, own_class
from pa_keras.losses.exact_labels import call_with_exact_labels


def proxy_nca(
    labels: TensorLike,
    similarities: TensorLike,
    scale: float = 32.0,
    target_in_denominator: bool = False,
) -> Tensor:
    r"""Proxy-NCA loss: one term for each embedding, whose mean is the loss.

        l(x) = -log( exp(-sigma d(x, p_y)) / sum_{z in Z} exp(-sigma d(x, p_z)) ),
        d(x, p) = ||x - p||^2 = 2 - 2 s(x, p)   for unit vectors

    In the paper, Z is the set of the proxies of the other classes. Much code, such as PyTorch
    Metric Learning, keeps the target proxy p_y in Z, which makes the quotient a softmax:
    `target_in_denominator=True`.

    Args:
        labels: Class IDs in [0, C), integers of shape (B,) or (B, 1), or one-hot of shape (B, C).
        similarities: Cosines (B, C), floating, C >= 2; the output of `pa_keras.layers.Proxies`.
        scale: sigma, a factor of squared distances, > 0. Default 32, as in the comparison by the
            Proxy-Anchor authors; the paper has no scale except the length of the proxies.
        target_in_denominator: Whether Z contains all proxies. Default False, as in the paper.

    Returns:
        float32 (B,). All NaN if a cosine is not finite or if, under XLA, which cannot raise an
        error, a label is bad.

    Raises:
        ValueError: If a rank, a width, a dtype or a setting is wrong, or, in eager mode, if a label
            is out of range.
        tf.errors.InvalidArgumentError: If a label is out of range, in graph mode.

    Example:
        >>> proxy_nca([0, 1], [[1.0, 0.0], [0.0, 1.0]], scale=1.0).numpy().tolist()
        [-2.0, -2.0]

    Source: Movshovitz-Attias et al., No Fuss Distance Metric Learning Using Proxies, ICCV 2017,
    eq. (4). Sampling: random batches.
    """
    expect_positive("scale", scale)
    classes, similarities, valid = check_cosines(labels, similarities)
    own = own_class(classes, similarities)
    logits = 2 * scale * (similarities - 1)
    terms = weighted(cross_entropy(logits, own, target_in_denominator))
    return ops.where(valid, terms, float("nan"))


@keras.saving.register_keras_serializable("pa_keras")
class ProxyNCALoss(keras.losses.Loss):
    """Proxy-NCA loss of class IDs and cosines; `proxy_nca` gives the formula.

    The model must end with a `pa_keras.layers.Proxies` layer. Use random batches. In the paper the
    proxies have the same learning rate as the network; `two_rate_adamw` can give them a higher one.

    Args:
        scale: sigma, a factor of squared distances, > 0. Default 32.
        target_in_denominator: Whether the target proxy is in the denominator. Default False.
        reduction: Reduction of the terms, as in Keras. Default "sum_over_batch_size", their mean.
        name: Name of the loss.

    Raises:
        ValueError: As for `proxy_nca`.

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

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return proxy_nca(y_true, y_pred, self.scale, self.target_in_denominator)

    def get_config(self) -> dict[str, Any]:
        config = {"scale": self.scale, "target_in_denominator": self.target_in_denominator}
        return {**super().get_config(), **config}
