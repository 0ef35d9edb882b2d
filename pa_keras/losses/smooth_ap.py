"""Smooth-AP loss (Brown et al., ECCV 2020)."""

from typing import Any

import keras
from keras import ops

from pa_keras.kernels import largest
from pa_keras.kernels.tensors import Tensor, TensorLike
from pa_keras.losses._common import share, unit
from pa_keras.losses._validation import check_pairs, expect_positive
from pa_keras.losses.exact_labels import call_with_exact_labels


def smooth_ap(
    labels: TensorLike,
    embeddings: TensorLike,
    temperature: float = 0.01,
    query_in_gallery: bool = False,
) -> Tensor:
    r"""Smooth-AP loss: one term for each embedding, whose mean is the loss.

        L = mean over queries q with a positive of 1 - AP_q
        AP_q = 1/|S_P| sum_{i in S_P} (1 + sum_{j in S_P, j != i} G(s_qj - s_qi))
                                    / (1 + sum_{j in S_P or S_N, j != i} G(s_qj - s_qi))
        G(x) = 1 / (1 + exp(-x / tau))

    Each embedding is a query once; s is the cosine, S_P are the embeddings of the class of q, and
    S_N those of other classes. With G a step function, AP_q would be the average precision.

    As in an evaluation, a query is not in its own gallery. The authors' code and PyTorch Metric
    Learning have it there, as a positive of cosine 1 (`query_in_gallery`).

    Memory: B x B numbers for each image of the largest class in the batch; B x B x B under XLA.

    Args:
        labels: Class IDs, integers of shape (B,) or (B, 1).
        embeddings: Embeddings (B, D), floating; the loss normalizes them to unit length.
        temperature: tau, > 0. Default 0.01.
        query_in_gallery: Whether each query is a positive of its own. Default False.

    Returns:
        float32 (B,). All NaN if an embedding is not finite or if, under XLA, which cannot raise an
        error, a label is bad or the batch lacks such pairs.

    Raises:
        ValueError: If a rank, a dtype or a setting is wrong, or, in eager mode, if the batch has no
            positive or no negative pair.
        tf.errors.InvalidArgumentError: If the batch lacks such pairs, in graph mode.

    Example:
        >>> tuple(smooth_ap([0, 0, 1], [[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]).shape)
        (3,)

    Source: Brown et al., Smooth-AP: Smoothing the Path Towards Large-Scale Image Retrieval, ECCV
    2020, section 3. Sampling: balanced batches.
    """
    expect_positive("temperature", temperature)
    embeddings, positive, negative, valid = check_pairs(labels, embeddings)
    if query_in_gallery:
        positive = ~negative
    directions = unit(embeddings)
    s = ops.matmul(directions, ops.transpose(directions))
    count = ops.sum(ops.cast(positive, "int32"), axis=1)
    # The positives i of each query, in the first places of axis 1.
    places = largest(count, ops.shape(s)[0])
    is_positive, i = ops.top_k(ops.cast(positive, "float32"), places)
    gaps = s[:, None, :] - ops.take_along_axis(s, i, axis=1)[:, :, None]  # axes: query, i, j
    others = ops.arange(ops.shape(s)[0], dtype="int32")[None, None, :] != i[:, :, None]
    above = ops.where(others, ops.sigmoid(gaps / temperature), 0.0)
    of_positives = 1 + ops.sum(ops.where(positive[:, None, :], above, 0.0), axis=2)
    of_negatives = ops.sum(ops.where(negative[:, None, :], above, 0.0), axis=2)
    precision = of_positives / (of_positives + of_negatives) * is_positive
    number = ops.maximum(ops.cast(count, "float32"), 1.0)
    terms = share(1 - ops.sum(precision, axis=1) / number, count > 0)
    return ops.where(valid, terms, float("nan"))


@keras.saving.register_keras_serializable("pa_keras")
class SmoothAPLoss(keras.losses.Loss):
    """Smooth-AP loss of class IDs and embeddings; `smooth_ap` gives the formula.

    The model must end with embeddings, without `Proxies`. Batches must be balanced
    (`images_per_class` of 2 or more).

    Args:
        temperature: tau, > 0. Default 0.01.
        query_in_gallery: Whether each query is a positive of its own. Default False.
        reduction: Reduction of the terms, as in Keras. Default "sum_over_batch_size", their mean.
        name: Name of the loss.

    Raises:
        ValueError: As for `smooth_ap`.

    Example:
        >>> loss = SmoothAPLoss()
        >>> round(float(loss([0, 0, 1], [[1.0, 0.0], [0.0, 1.0], [0.8, 0.6]])), 4)
        0.5

    Source: Brown et al., ECCV 2020, section 3.
    """

    def __init__(
        self,
        temperature: float = 0.01,
        query_in_gallery: bool = False,
        reduction: str | None = "sum_over_batch_size",
        name: str = "smooth_ap",
    ) -> None:
        expect_positive("temperature", temperature)
        super().__init__(name=name, reduction=reduction, dtype="float32")
        self.temperature = temperature
        self.query_in_gallery = query_in_gallery

    __call__ = call_with_exact_labels

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return smooth_ap(y_true, y_pred, self.temperature, self.query_in_gallery)

    def get_config(self) -> dict[str, Any]:
        own = {"temperature": self.temperature, "query_in_gallery": self.query_in_gallery}
        return {**super().get_config(), **own}
