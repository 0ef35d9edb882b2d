"""Supervised contrastive loss, SupCon (Khosla et al., NeurIPS 2020)."""

from typing import Any

import keras
from keras import ops

from pa_keras.kernels.tensors import Tensor, TensorLike
from pa_keras.losses._common import cosines, share
from pa_keras.losses._validation import check_pairs, expect_positive
from pa_keras.losses.exact_labels import call_with_exact_labels
from pa_keras.losses.references import References


def sup_con(
    labels: TensorLike,
    embeddings: TensorLike,
    temperature: float = 0.1,
    references: References | None = None,
) -> Tensor:
    r"""Supervised contrastive loss: one term for each embedding, whose mean is the loss.

        L = mean over i with a positive of
            -1/|P(i)| sum_{p in P(i)} log( exp(z_i . z_p / tau)
                                           / sum_{a in A(i)} exp(z_i . z_a / tau) )

    Here z are unit vectors, A(i) all embeddings of the batch except z_i, and P(i) those of the
    class of i among them. The paper has two augmented views of each image, so that each embedding
    has a positive. Here an embedding without one is left out of the mean, as in PyTorch Metric
    Learning.

    Args:
        labels: Class IDs, integers of shape (B,) or (B, 1).
        embeddings: Embeddings (B, D), floating; the loss normalizes them to unit length.
        temperature: tau, > 0. Default 0.1.
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
        >>> tuple(sup_con([0, 0, 1], [[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]]).shape)
        (3,)

    Source: Khosla et al., Supervised Contrastive Learning, NeurIPS 2020, eq. (2), L_out. Sampling:
    balanced batches.
    """
    expect_positive("temperature", temperature)
    embeddings, positive, negative, valid = check_pairs(labels, embeddings, references)
    logits = cosines(embeddings, references) / temperature
    others = ops.where(positive | negative, logits, -float("inf"))
    logs = ops.logsumexp(others, axis=1, keepdims=True) - logits
    number = ops.sum(ops.cast(positive, "float32"), axis=1)
    of_rows = ops.sum(ops.where(positive, logs, 0.0), axis=1) / ops.maximum(number, 1.0)
    return ops.where(valid, share(of_rows, number > 0), float("nan"))


@keras.saving.register_keras_serializable("pa_keras")
class SupConLoss(keras.losses.Loss):
    """Supervised contrastive loss of class IDs and embeddings; `sup_con` gives the formula.

    The model must end with embeddings, without `Proxies`. Batches must be balanced
    (`images_per_class` of 2 or more).

    Args:
        temperature: tau, > 0. Default 0.1.
        reduction: Reduction of the terms, as in Keras. Default "sum_over_batch_size", their mean.
        name: Name of the loss.

    Raises:
        ValueError: As for `sup_con`.

    Example:
        >>> loss = SupConLoss(temperature=1.0)
        >>> round(float(loss([0, 0, 1], [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])), 4)
        0.3133

    Source: Khosla et al., NeurIPS 2020, eq. (2).
    """

    def __init__(
        self,
        temperature: float = 0.1,
        reduction: str | None = "sum_over_batch_size",
        name: str = "sup_con",
    ) -> None:
        expect_positive("temperature", temperature)
        super().__init__(name=name, reduction=reduction, dtype="float32")
        self.temperature = temperature

    __call__ = call_with_exact_labels

    def call(self, y_true: Tensor, y_pred: Tensor, references: References | None = None) -> Tensor:
        return sup_con(y_true, y_pred, self.temperature, references)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "temperature": self.temperature}
