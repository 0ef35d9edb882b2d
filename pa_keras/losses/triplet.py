"""Triplet loss with four kinds of triplet mining (Schroff et al., CVPR 2015)."""

from typing import Any, Literal, get_args

import keras
from keras import ops

from pa_keras.kernels.tensors import Tensor, TensorLike
from pa_keras.losses._common import distances, share, unit
from pa_keras.losses._validation import check_pairs, expect_positive
from pa_keras.losses.exact_labels import call_with_exact_labels

Mining = Literal["semi_hard", "semi_hard_nearest", "hard", "all"]


def triplet(
    labels: TensorLike,
    embeddings: TensorLike,
    margin: float = 0.1,
    mining: Mining = "semi_hard",
) -> Tensor:
    r"""Triplet loss: one term for each embedding, whose mean is the loss.

        L = mean over the chosen triplets of [d_ap - d_an + m]_+

    Here d is the Euclidean distance of unit vectors, a is the anchor, p a positive (of the class of
    a), n a negative (of another class), and [x]_+ = max(x, 0). `mining` chooses the triplets:

        "semi_hard"          all triplets with 0 < d_an - d_ap <= m; the mean is over terms above 0
                             (PyTorch Metric Learning, the Proxy-Anchor authors)
        "semi_hard_nearest"  for each a and p, the nearest n with d_an > d_ap, or the farthest n if
                             there is no such n (Schroff et al., TensorFlow Addons)
        "hard"               for each a, the farthest p and the nearest n (Hermans et al.)
        "all"                all triplets; the mean is over terms above 0

    Memory: "semi_hard" and "all" keep B x B x B numbers; "hard" and "semi_hard_nearest" keep B x B,
    but the latter needs B x B x B for a moment.

    Args:
        labels: Class IDs, integers of shape (B,) or (B, 1).
        embeddings: Embeddings (B, D), floating; the loss normalizes them to unit length.
        margin: m, a distance, > 0. Default 0.1.
        mining: One of the names above. Default "semi_hard".

    Returns:
        float32 (B,). All NaN if an embedding is not finite or if, under XLA, which cannot raise an
        error, a label is bad or the batch lacks such pairs.

    Raises:
        ValueError: If a rank, a dtype or a setting is wrong, or, in eager mode, if the batch has no
            positive or no negative pair.
        tf.errors.InvalidArgumentError: If the batch lacks such pairs, in graph mode.

    Example:
        >>> terms = triplet([0, 0, 1], [[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]], mining="hard")
        >>> tuple(terms.shape)
        (3,)

    Source: Schroff et al., FaceNet, CVPR 2015, eq. (2) and (3); Hermans et al., In Defense of the
    Triplet Loss, 2017, eq. (5). Sampling: balanced batches.
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
        gaps = apart[:, None, :] - apart[:, :, None]  # axes: anchor, positive, negative
        if mining == "semi_hard":
            triplets = triplets & (gaps > 0) & (gaps <= margin)
        hinges = ops.relu(margin - gaps)
        terms = share(hinges, triplets & (hinges > 0))
    return ops.where(valid, terms, float("nan"))


@keras.saving.register_keras_serializable("pa_keras")
class TripletLoss(keras.losses.Loss):
    """Triplet loss of class IDs and embeddings; `triplet` gives the formula.

    The model must end with embeddings, without `Proxies`. Batches must be balanced
    (`images_per_class` of 2 or more; 4 or 5 are usual).

    Args:
        margin: m, a distance, > 0. Default 0.1.
        mining: "semi_hard" (default), "semi_hard_nearest", "hard" or "all"; see `triplet`.
        reduction: Reduction of the terms, as in Keras. Default "sum_over_batch_size", their mean.
        name: Name of the loss.

    Raises:
        ValueError: As for `triplet`.

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

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return triplet(y_true, y_pred, self.margin, self.mining)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "margin": self.margin, "mining": self.mining}


def _semi_hard_negatives(apart: Tensor, negative: Tensor) -> Tensor:
    """Distances (B, B) from each anchor to the negative chosen for each positive."""
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
