"""Triplet loss (Schroff et al., CVPR 2015), with the ways to choose triplets."""

from typing import Any, Literal, get_args

import keras
import tensorflow as tf
from keras import ops

from pa_keras.losses._common import distances, share, unit
from pa_keras.losses._validation import TensorLike, check_pairs, expect_positive
from pa_keras.losses.exact_labels import call_with_exact_labels

Mining = Literal["semi_hard", "semi_hard_nearest", "hard", "all"]


def triplet(
    labels: TensorLike,
    embeddings: TensorLike,
    margin: float = 0.1,
    mining: Mining = "semi_hard",
) -> tf.Tensor:
    r"""One triplet term per embedding; their mean is the loss.

        L = mean over the chosen triplets of [d_ap - d_an + m]_+

    with d the Euclidean distance of unit vectors, p of the anchor's class and n of another:

        "semi_hard"          all triplets with 0 < d_an - d_ap <= m; the mean over terms above 0
                             (PyTorch Metric Learning, the Proxy-Anchor authors)
        "semi_hard_nearest"  for each anchor and positive the nearest n with d_an > d_ap, or where
                             there is none the farthest n (Schroff et al., TensorFlow Addons)
        "hard"               for each anchor the farthest p and the nearest n (Hermans et al.)
        "all"                all triplets; the mean over terms above 0

    "semi_hard" and "all" hold B x B x B numbers; the others B x B, "semi_hard_nearest" for a while
    B x B x B.

    Args:
        labels: class of each row, integers (B,) or (B, 1).
        embeddings: floating (B, D); they are divided by their lengths here.
        margin: m, a distance, > 0. Default 0.1.
        mining: which triplets, as above. Default "semi_hard".

    Returns:
        float32 (B,). NaN where an embedding is not finite, and under XLA, which cannot raise, for
        bad labels and without pairs.

    Raises:
        ValueError: wrong rank or dtype, a setting out of its range, or (eagerly) a batch without a
            positive or a negative pair.
        tf.errors.InvalidArgumentError: a batch without such pairs, in a graph.

    Example:
        >>> terms = triplet([0, 0, 1], [[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], mining="hard")
        >>> terms.shape
        TensorShape([3])

    Source: Schroff et al., FaceNet, CVPR 2015, eq. (2) and (3); Hermans et al., In Defense of the
    Triplet Loss, 2017, eq. (5); sampling: balanced batches.
    """
    _check_settings(margin, mining)
    embeddings, positive, negative, valid = check_pairs(labels, embeddings)
    apart = distances(unit(embeddings))
    if mining == "hard":
        farthest = ops.max(ops.where(positive, apart, 0.0), axis=1)
        nearest = ops.min(ops.where(negative, apart, float("inf")), axis=1)
        # An anchor without a positive is compared with itself, as in TensorFlow Addons.
        terms = ops.relu(farthest - nearest + margin)
    elif mining == "semi_hard_nearest":
        chosen = _semi_hard_negatives(apart, negative)
        terms = share(ops.relu(apart - chosen + margin), positive)
    else:
        triplets = positive[:, :, None] & negative[:, None, :]
        gaps = apart[:, None, :] - apart[:, :, None]  # of anchor, positive, negative
        if mining == "semi_hard":
            triplets = triplets & (gaps > 0) & (gaps <= margin)
        hinges = ops.relu(margin - gaps)
        terms = share(hinges, triplets & (hinges > 0))
    return ops.where(valid, terms, float("nan"))


@keras.saving.register_keras_serializable("pa_keras")
class TripletLoss(keras.losses.Loss):
    """Triplet loss of class ids and embeddings; the formula is at `triplet`.

    The model must end with embeddings, without `Proxies`. Batches must be balanced
    (`images_per_class` of 2 or more; 4 or 5 are usual).

    Args:
        margin: m, a distance, > 0. Default 0.1.
        mining: "semi_hard" (default), "semi_hard_nearest", "hard" or "all".
        reduction: as in Keras. Default "sum_over_batch_size".
        name: name of the loss.

    Raises:
        ValueError: as `triplet`.

    Example:
        >>> loss = TripletLoss(margin=1.0, mining="hard")
        >>> round(float(loss([0, 0, 1], [[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])), 4)
        0.0

    Source: Schroff et al., CVPR 2015, eq. (2) and (3).
    """

    def __init__(
        self,
        margin: float = 0.1,
        mining: Mining = "semi_hard",
        reduction: str | None = "sum_over_batch_size",
        name: str = "triplet",
    ) -> None:
        _check_settings(margin, mining)
        super().__init__(name=name, reduction=reduction, dtype="float32")
        self.margin = margin
        self.mining = mining

    __call__ = call_with_exact_labels

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        return triplet(y_true, y_pred, self.margin, self.mining)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "margin": self.margin, "mining": self.mining}


def _semi_hard_negatives(apart: tf.Tensor, negative: tf.Tensor) -> tf.Tensor:
    """Distance (B, B) from each anchor to the negative that is chosen for each positive."""
    farther = negative[:, None, :] & (apart[:, None, :] > apart[:, :, None])
    nearest = ops.min(ops.where(farther, apart[:, None, :], float("inf")), axis=2)
    farthest = ops.max(ops.where(negative, apart, 0.0), axis=1, keepdims=True)
    return ops.where(ops.any(farther, axis=2), nearest, farthest)


def _check_settings(margin: float, mining: str) -> None:
    expect_positive("margin", margin)
    if mining not in get_args(Mining):
        raise ValueError(
            f"Expected mining to be one of {', '.join(get_args(Mining))}; received {mining!r}."
        )
