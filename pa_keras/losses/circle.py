"""Circle loss (Sun et al., CVPR 2020)."""

from typing import Any

import keras
from keras import ops

from pa_keras.kernels.tensors import Tensor, TensorLike
from pa_keras.losses._common import cosines, share
from pa_keras.losses._validation import check_pairs, expect_positive
from pa_keras.losses.exact_labels import call_with_exact_labels
from pa_keras.losses.references import References


def circle(
    labels: TensorLike,
    embeddings: TensorLike,
    margin: float = 0.4,
    scale: float = 80.0,
    references: References | None = None,
) -> Tensor:
    r"""Circle loss: one term for each embedding, whose mean is the loss.

        L = mean over i of log(1 + sum_{n in N_i} exp( gamma a_n (s_in - m))
                                 * sum_{p in P_i} exp(-gamma a_p (s_ip - (1 - m))))
        a_p = [1 + m - s_ip]_+,   a_n = [s_in + m]_+

    Here s is the cosine, P_i the other embeddings of the class of i, N_i those of other classes,
    and [x]_+ = max(x, 0). The weights a_p and a_n are constants in the gradient, as in the paper.
    The mean is over the embeddings that have a positive and a negative.

    Args:
        labels: Class IDs, integers of shape (B,) or (B, 1).
        embeddings: Embeddings (B, D), floating; the loss normalizes them to unit length.
        margin: m, a difference of cosines, in [0, 1]. Default 0.4.
        scale: gamma, > 0. Default 80.
        references: Embeddings to compare with, such as those of earlier batches. Default None: the
            batch itself.

    Returns:
        float32 (B,). All NaN if an embedding is not finite or if, under XLA, which cannot raise an
        error, a label is bad or the batch lacks such pairs.

    Raises:
        ValueError: If a rank, a dtype or a setting is wrong, or, in eager mode, if the batch has no
            positive or no negative pair.
        tf.errors.InvalidArgumentError: If the batch lacks such pairs, in graph mode.

    Example:
        >>> tuple(circle([0, 0, 1], [[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]).shape)
        (3,)

    Source: Sun et al., Circle Loss: A Unified Perspective of Pair Similarity Optimization, CVPR
    2020, sections 3.2 and 3.3, with the settings for image retrieval. Sampling: balanced batches.
    """
    _check_settings(margin, scale)
    embeddings, positive, negative, valid = check_pairs(labels, embeddings, references)
    s = cosines(embeddings, references)
    constant = ops.stop_gradient(s)
    pull = -scale * ops.relu(1 + margin - constant) * (s - (1 - margin))
    push = scale * ops.relu(constant + margin) * (s - margin)
    counted = ops.any(positive, axis=1) & ops.any(negative, axis=1)
    exponent = _log_sum_exp(pull, positive, counted) + _log_sum_exp(push, negative, counted)
    return ops.where(valid, share(ops.softplus(exponent), counted), float("nan"))


@keras.saving.register_keras_serializable("pa_keras")
class CircleLoss(keras.losses.Loss):
    """Circle loss of class IDs and embeddings; `circle` gives the formula.

    The model must end with embeddings, without `Proxies`. Batches must be balanced
    (`images_per_class` of 2 or more).

    Args:
        margin: m, a difference of cosines, in [0, 1]. Default 0.4.
        scale: gamma, > 0. Default 80.
        reduction: Reduction of the terms, as in Keras. Default "sum_over_batch_size", their mean.
        name: Name of the loss.

    Raises:
        ValueError: As for `circle`.

    Example:
        >>> loss = CircleLoss(margin=0.5, scale=1.0)
        >>> round(float(loss([0, 0, 1, 1], [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])), 4)
        0.7944

    Source: Sun et al., CVPR 2020, sections 3.2 and 3.3.
    """

    def __init__(
        self,
        margin: float = 0.4,
        scale: float = 80.0,
        reduction: str | None = "sum_over_batch_size",
        name: str = "circle",
    ) -> None:
        _check_settings(margin, scale)
        super().__init__(name=name, reduction=reduction, dtype="float32")
        self.margin = margin
        self.scale = scale

    __call__ = call_with_exact_labels

    def call(self, y_true: Tensor, y_pred: Tensor, references: References | None = None) -> Tensor:
        return circle(y_true, y_pred, self.margin, self.scale, references)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "margin": self.margin, "scale": self.scale}


def _log_sum_exp(exponents: Tensor, members: Tensor, counted: Tensor) -> Tensor:
    """Log-sum-exp (B,) over the members of each counted row; finite in the other rows."""
    exponents = ops.where(members, exponents, -float("inf"))
    # A row without members would have a gradient of NaN.
    return ops.logsumexp(ops.where(counted[:, None], exponents, 0.0), axis=1)


def _check_settings(margin: float, scale: float) -> None:
    expect_positive("scale", scale)
    if not 0 <= margin <= 1:
        raise ValueError(f"Expected margin in [0, 1], a difference of cosines; received {margin}.")
