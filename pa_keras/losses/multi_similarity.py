"""Multi-Similarity loss with pair mining (Wang et al., CVPR 2019)."""

from typing import Any

import keras
from keras import ops

from pa_keras.kernels.tensors import Tensor, TensorLike
from pa_keras.losses._common import cosines, log_one_plus_sum_exp
from pa_keras.losses._validation import check_pairs, expect_positive
from pa_keras.losses.exact_labels import call_with_exact_labels
from pa_keras.losses.references import References


def multi_similarity(
    labels: TensorLike,
    embeddings: TensorLike,
    alpha: float = 2.0,
    beta: float = 50.0,
    base: float = 0.5,
    epsilon: float | None = 0.1,
    references: References | None = None,
) -> Tensor:
    r"""Multi-Similarity loss: one term for each embedding, whose mean is the loss.

        l_i = 1/alpha log(1 + sum_{k in P_i} exp(-alpha (s_ik - lambda)))
            + 1/beta  log(1 + sum_{k in N_i} exp( beta  (s_ik - lambda)))

    Here s is the cosine. Pair mining keeps in P_i the positives with s_ik - epsilon below the
    largest s of a negative, and in N_i the negatives with s_ik + epsilon above the smallest s of a
    positive.

    Args:
        labels: Class IDs, integers of shape (B,) or (B, 1).
        embeddings: Embeddings (B, D), floating; the loss normalizes them to unit length.
        alpha: Scale of the positives, > 0. Default 2.
        beta: Scale of the negatives, > 0. Default 50.
        base: lambda, a cosine. Default 0.5.
        epsilon: Margin of the mining, a difference of cosines; None: no mining. Default 0.1.
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
        >>> tuple(multi_similarity([0, 0, 1], [[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]).shape)
        (3,)

    Source: Wang et al., Multi-Similarity Loss with General Pair Weighting for Deep Metric Learning,
    CVPR 2019, eq. (11) to (15). Sampling: balanced batches with 5 images of each class.
    """
    expect_positive("alpha", alpha)
    expect_positive("beta", beta)
    embeddings, positive, negative, valid = check_pairs(labels, embeddings, references)
    s = cosines(embeddings, references)
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
    """Multi-Similarity loss of class IDs and embeddings; `multi_similarity` gives the formula.

    The model must end with embeddings, without `Proxies`. Batches must be balanced
    (`images_per_class` of 2 or more; the paper uses 5).

    Args:
        alpha: Scale of the positives, > 0. Default 2.
        beta: Scale of the negatives, > 0. Default 50.
        base: lambda, a cosine. Default 0.5.
        epsilon: Margin of the mining, a difference of cosines; None: no mining. Default 0.1.
        reduction: Reduction of the terms, as in Keras. Default "sum_over_batch_size", their mean.
        name: Name of the loss.

    Raises:
        ValueError: As for `multi_similarity`.

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

    def call(self, y_true: Tensor, y_pred: Tensor, references: References | None = None) -> Tensor:
        return multi_similarity(
            y_true, y_pred, self.alpha, self.beta, self.base, self.epsilon, references
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "alpha": self.alpha,
            "beta": self.beta,
            "base": self.base,
            "epsilon": self.epsilon,
        }
