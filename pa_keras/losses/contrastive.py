"""Contrastive loss (Hadsell et al., CVPR 2006)."""

from typing import Any

import keras
from keras import ops

from pa_keras.kernels.tensors import Tensor, TensorLike
from pa_keras.losses._common import distances, share, unit
from pa_keras.losses._validation import check_pairs
from pa_keras.losses.exact_labels import call_with_exact_labels
from pa_keras.losses.references import References


def contrastive(
    labels: TensorLike,
    embeddings: TensorLike,
    negative_margin: float = 0.5,
    positive_margin: float = 0.0,
    squared: bool = False,
    average_nonzero: bool = True,
    references: References | None = None,
) -> Tensor:
    r"""Contrastive loss: one term for each embedding, whose mean is the loss.

        L = mean over positive pairs of [d_ij - m_p]_+
          + mean over negative pairs of [m_n - d_ij]_+

    Here d is the Euclidean distance of unit vectors, and [x]_+ = max(x, 0). Hadsell et al. and
    TensorFlow Addons square both hinges (`squared`). PyTorch Metric Learning and the Proxy-Anchor
    authors do not, and average each sum over its terms above 0 (`average_nonzero`).

    Args:
        labels: Class IDs, integers of shape (B,) or (B, 1).
        embeddings: Embeddings (B, D), floating; the loss normalizes them to unit length.
        negative_margin: m_n, a distance, in (0, 2]. Default 0.5.
        positive_margin: m_p, a distance, at least 0. Default 0.
        squared: Whether each hinge is squared. Default False.
        average_nonzero: Whether each mean is over the terms above 0 only. Default True.
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
        >>> terms = contrastive([0, 0, 1], [[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
        >>> tuple(terms.shape)
        (3,)

    Source: Hadsell et al., Dimensionality Reduction by Learning an Invariant Mapping, CVPR 2006,
    eq. (4). Sampling: balanced batches.
    """
    _check_settings(negative_margin, positive_margin)
    embeddings, positive, negative, valid = check_pairs(labels, embeddings, references)
    others = None if references is None else unit(references.embeddings)
    apart = distances(unit(embeddings), others)
    terms: Tensor = 0.0
    for members, hinges in (
        (positive, ops.relu(apart - positive_margin)),
        (negative, ops.relu(negative_margin - apart)),
    ):
        counted = members & (hinges > 0) if average_nonzero else members
        terms = terms + share(ops.square(hinges) if squared else hinges, counted)
    return ops.where(valid, terms, float("nan"))


@keras.saving.register_keras_serializable("pa_keras")
class ContrastiveLoss(keras.losses.Loss):
    """Contrastive loss of class IDs and embeddings; `contrastive` gives the formula.

    The model must end with embeddings, without `Proxies`. Batches must be balanced
    (`images_per_class` of 2 or more).

    Args:
        negative_margin: m_n, a distance, in (0, 2]. Default 0.5.
        positive_margin: m_p, a distance, at least 0. Default 0.
        squared: Whether each hinge is squared. Default False.
        average_nonzero: Whether each mean is over the terms above 0 only. Default True.
        reduction: Reduction of the terms, as in Keras. Default "sum_over_batch_size", their mean.
        name: Name of the loss.

    Raises:
        ValueError: As for `contrastive`.

    Example:
        >>> loss = ContrastiveLoss(negative_margin=1.0)
        >>> round(float(loss([0, 0, 1], [[1.0, 0.0], [1.0, 0.0], [0.8, 0.6]])), 4)
        0.3675

    Source: Hadsell et al., CVPR 2006, eq. (4).
    """

    def __init__(
        self,
        negative_margin: float = 0.5,
        positive_margin: float = 0.0,
        squared: bool = False,
        average_nonzero: bool = True,
        reduction: str | None = "sum_over_batch_size",
        name: str = "contrastive",
    ) -> None:
        _check_settings(negative_margin, positive_margin)
        super().__init__(name=name, reduction=reduction, dtype="float32")
        self.negative_margin = negative_margin
        self.positive_margin = positive_margin
        self.squared = squared
        self.average_nonzero = average_nonzero

    __call__ = call_with_exact_labels

    def call(self, y_true: Tensor, y_pred: Tensor, references: References | None = None) -> Tensor:
        return contrastive(
            y_true,
            y_pred,
            self.negative_margin,
            self.positive_margin,
            self.squared,
            self.average_nonzero,
            references,
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "negative_margin": self.negative_margin,
            "positive_margin": self.positive_margin,
            "squared": self.squared,
            "average_nonzero": self.average_nonzero,
        }


def _check_settings(negative_margin: float, positive_margin: float) -> None:
    if not 0 < negative_margin <= 2 or positive_margin < 0:
        raise ValueError(
            "Expected negative_margin in (0, 2] and positive_margin of 0 or more, distances of "
            f"unit vectors; received {negative_margin} and {positive_margin}."
        )
