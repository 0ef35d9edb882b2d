"""N-pair loss (Sohn, NeurIPS 2016)."""

import keras
import tensorflow as tf
from keras import ops

from pa_keras.losses._common import cross_entropy, share
from pa_keras.losses._validation import TensorLike, check_pairs
from pa_keras.losses.exact_labels import call_with_exact_labels


def n_pair(labels: TensorLike, embeddings: TensorLike) -> tf.Tensor:
    r"""One N-pair term per embedding; their mean is the loss.

        L = mean over classes i of log(1 + sum_{j != i} exp(x_i . x_j+ - x_i . x_i+))

    The first embedding of each class in the batch is its anchor x_i and the second its positive
    x_i+; a class with one is left out, and further ones are not used. The products are of the
    embeddings as they are: unit vectors if the model normalises, of any length in the paper.

    Args:
        labels: class of each row, integers (B,) or (B, 1).
        embeddings: floating (B, D).

    Returns:
        float32 (B,), 0 but for the anchors. NaN where an embedding is not finite, and under XLA,
        which cannot raise, for bad labels and without pairs.

    Raises:
        ValueError: wrong rank or dtype, or (eagerly) a batch without a positive or a negative pair.
        tf.errors.InvalidArgumentError: a batch without such pairs, in a graph.

    Example:
        >>> n_pair([0, 0, 1, 1], [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]).shape
        TensorShape([4])

    Source: Sohn, Improved Deep Metric Learning with Multi-class N-pair Loss Objective, NeurIPS
    2016, eq. (7), without its penalty on the embeddings' length; sampling: balanced batches of 2
    images a class.
    """
    embeddings, positive, _, valid = check_pairs(labels, embeddings)
    # How many rows of its class come before each row: 0 for an anchor, 1 for a positive.
    earlier = ops.sum(ops.cast(tf.linalg.band_part(positive, -1, 0), "int32"), axis=1)
    is_positive = earlier == 1
    own = positive & is_positive[None, :]
    is_anchor = (earlier == 0) & ops.any(own, axis=1)
    products = ops.matmul(embeddings, ops.transpose(embeddings))
    logits = ops.where(is_positive[None, :], products, -float("inf"))
    # Rows that are no anchors must have a finite term, or its gradient is not 0 but NaN.
    own = own & is_anchor[:, None]
    logits = ops.where(is_anchor[:, None], logits, 0.0)
    terms = share(cross_entropy(logits, own), is_anchor)
    return ops.where(valid, terms, float("nan"))


@keras.saving.register_keras_serializable("pa_keras")
class NPairLoss(keras.losses.Loss):
    """N-pair loss of class ids and embeddings; the formula is at `n_pair`.

    The model must end with embeddings, without `Proxies`. Batches must be balanced, of 2 images a
    class: further ones are not used.

    Args:
        reduction: as in Keras. Default "sum_over_batch_size".
        name: name of the loss.

    Raises:
        ValueError: as `n_pair`.

    Example:
        >>> loss = NPairLoss()
        >>> round(float(loss([0, 0, 1, 1], [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])), 4)
        0.3133

    Source: Sohn, NeurIPS 2016, eq. (7).
    """

    def __init__(self, reduction: str | None = "sum_over_batch_size", name: str = "n_pair") -> None:
        super().__init__(name=name, reduction=reduction, dtype="float32")

    __call__ = call_with_exact_labels

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        return n_pair(y_true, y_pred)
