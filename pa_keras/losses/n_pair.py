"""N-pair loss (Sohn, NeurIPS 2016)."""

import keras
from keras import ops

from pa_keras.kernels.tensors import Tensor, TensorLike
from pa_keras.losses._common import cross_entropy, share
from pa_keras.losses._validation import check_pairs
from pa_keras.losses.exact_labels import call_with_exact_labels


def n_pair(labels: TensorLike, embeddings: TensorLike) -> Tensor:
    r"""N-pair loss: one term for each embedding, whose mean is the loss.

        L = mean over classes i of log(1 + sum_{j != i} exp(x_i . x_j+ - x_i . x_i+))

    The first embedding of each class in the batch is the anchor x_i, the second is the positive
    x_i+. A class with a single embedding is left out, and further embeddings are not used. The
    loss does not normalize: the embeddings are unit vectors if the model ends with a normalization,
    and have any length in the paper.

    Args:
        labels: Class IDs, integers of shape (B,) or (B, 1).
        embeddings: Embeddings (B, D), floating.

    Returns:
        float32 (B,), 0 except at the anchors. All NaN if an embedding is not finite or if, under
        XLA, which cannot raise an error, a label is bad or the batch lacks such pairs.

    Raises:
        ValueError: If a rank or a dtype is wrong, or, in eager mode, if the batch has no positive
            or no negative pair.
        tf.errors.InvalidArgumentError: If the batch lacks such pairs, in graph mode.

    Example:
        >>> tuple(n_pair([0, 0, 1, 1], [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]).shape)
        (4,)

    Source: Sohn, Improved Deep Metric Learning with Multi-class N-pair Loss Objective, NeurIPS
    2016, eq. (7), without the penalty on the length of the embeddings. Sampling: balanced batches
    with 2 images of each class.
    """
    embeddings, positive, _, valid = check_pairs(labels, embeddings)
    # The number of earlier rows of the same class: 0 for an anchor, 1 for a positive.
    earlier = ops.sum(ops.tril(ops.cast(positive, "int32")), axis=1)
    is_positive = earlier == 1
    own = positive & is_positive[None, :]
    is_anchor = (earlier == 0) & ops.any(own, axis=1)
    products = ops.matmul(embeddings, ops.transpose(embeddings))
    logits = ops.where(is_positive[None, :], products, -float("inf"))
    # Rows that are not anchors need a finite term, since otherwise their gradient would be NaN.
    own = own & is_anchor[:, None]
    logits = ops.where(is_anchor[:, None], logits, 0.0)
    terms = share(cross_entropy(logits, own), is_anchor)
    return ops.where(valid, terms, float("nan"))


@keras.saving.register_keras_serializable("pa_keras")
class NPairLoss(keras.losses.Loss):
    """N-pair loss of class IDs and embeddings; `n_pair` gives the formula.

    The model must end with embeddings, without `Proxies`. Batches must be balanced, with 2 images
    of each class: further images are not used.

    Args:
        reduction: Reduction of the terms, as in Keras. Default "sum_over_batch_size", their mean.
        name: Name of the loss.

    Raises:
        ValueError: As for `n_pair`.

    Example:
        >>> loss = NPairLoss()
        >>> round(float(loss([0, 0, 1, 1], [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])), 4)
        0.3133

    Source: Sohn, NeurIPS 2016, eq. (7).
    """

    def __init__(self, reduction: str | None = "sum_over_batch_size", name: str = "n_pair") -> None:
        super().__init__(name=name, reduction=reduction, dtype="float32")

    __call__ = call_with_exact_labels

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return n_pair(y_true, y_pred)
