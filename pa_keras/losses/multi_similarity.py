"""Multi-Similarity loss (Wang et al., CVPR 2019), with its mining."""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from pa_keras.losses._common import log_one_plus_sum_exp, unit
from pa_keras.losses._validation import TensorLike, check_pairs, expect_positive
from pa_keras.losses.exact_labels import call_with_exact_labels


def multi_similarity(
    labels: TensorLike,
    embeddings: TensorLike,
    alpha: float = 2.0,
    beta: float = 50.0,
    base: float = 0.5,
    epsilon: float | None = 0.1,
) -> tf.Tensor:
    r"""One Multi-Similarity term per embedding; their mean is the loss.

        l_i = 1/alpha log(1 + sum_{k in P_i} exp(-alpha (s_ik - lambda)))
            + 1/beta  log(1 + sum_{k in N_i} exp( beta  (s_ik - lambda)))

    with s the cosine. Mining keeps in P_i the positives with s_ik - epsilon < the largest s of a
    negative, and in N_i the negatives with s_ik + epsilon > the smallest s of a positive.

    Args:
        labels: class of each row, integers (B,) or (B, 1).
        embeddings: floating (B, D); they are divided by their lengths here.
        alpha: scale of the positives, > 0. Default 2.
        beta: scale of the negatives, > 0. Default 50.
        base: lambda, a cosine. Default 0.5.
        epsilon: of the mining, a difference of cosines; None: no mining. Default 0.1.

    Returns:
        float32 (B,). NaN where an embedding is not finite, and under XLA, which cannot raise, for
        bad labels and without pairs.

    Raises:
        ValueError: wrong rank or dtype, a setting out of its range, or (eagerly) a batch without a
            positive or a negative pair.
        tf.errors.InvalidArgumentError: a batch without such pairs, in a graph.

    Example:
        >>> multi_similarity([0, 0, 1], [[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]).shape
        TensorShape([3])

    Source: Wang et al., Multi-Similarity Loss with General Pair Weighting for Deep Metric Learning,
    CVPR 2019, eq. (11) to (15); sampling: balanced batches of 5 images a class.
    """
    expect_positive("alpha", alpha)
    expect_positive("beta", beta)
    embeddings, positive, negative, valid = check_pairs(labels, embeddings)
    directions = unit(embeddings)
    s = ops.matmul(directions, ops.transpose(directions))
    if epsilon is not None:
        infinity = float("inf")
        hardest_negative = ops.max(ops.where(negative, s, -infinity), axis=1, keepdims=True)
        hardest_positive = ops.min(ops.where(positive, s, infinity), axis=1, keepdims=True)
        positive = positive & (s - epsilon < hardest_negative)
        negative = negative & (s + epsilon > hardest_positive)
    terms = (
        log_one_plus_sum_exp(-alpha * (s - base), positive, axis=1) / alpha
        + log_one_plus_sum_exp(beta * (s - base), negative, axis=1) / beta
    )
    return ops.where(valid, terms, float("nan"))


@keras.saving.register_keras_serializable("pa_keras")
class MultiSimilarityLoss(keras.losses.Loss):
    """Multi-Similarity loss of class ids and embeddings; the formula is at `multi_similarity`.

    The model must end with embeddings, without `Proxies`. Batches must be balanced
    (`images_per_class` of 2 or more; the paper has 5).

    Args:
        alpha: scale of the positives, > 0. Default 2.
        beta: scale of the negatives, > 0. Default 50.
        base: lambda, a cosine. Default 0.5.
        epsilon: of the mining, a difference of cosines; None: no mining. Default 0.1.
        reduction: as in Keras. Default "sum_over_batch_size".
        name: name of the loss.

    Raises:
        ValueError: as `multi_similarity`.

    Example:
        >>> loss = MultiSimilarityLoss(alpha=1.0, beta=1.0, base=0.0, epsilon=None)
        >>> round(float(loss([0, 0, 1], [[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])), 4)
        0.6015

    Source: Wang et al., CVPR 2019, eq. (15).
    """

    def __init__(
        self,
        alpha: float = 2.0,
        beta: float = 50.0,
        base: float = 0.5,
        epsilon: float | None = 0.1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "multi_similarity",
    ) -> None:
        expect_positive("alpha", alpha)
        expect_positive("beta", beta)
        super().__init__(name=name, reduction=reduction, dtype="float32")
        self.alpha = alpha
        self.beta = beta
        self.base = base
        self.epsilon = epsilon

    __call__ = call_with_exact_labels

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        return multi_similarity(y_true, y_pred, self.alpha, self.beta, self.base, self.epsilon)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "alpha": self.alpha,
            "beta": self.beta,
            "base": self.base,
            "epsilon": self.epsilon,
        }
