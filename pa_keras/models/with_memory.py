"""The model to train with a pair loss and a memory of earlier batches."""

from typing import Any

import keras
from keras import ops

from pa_keras.kernels import integer_dtype
from pa_keras.kernels.tensors import Tensor
from pa_keras.layers import CrossBatchMemory
from pa_keras.layers.cross_batch_memory import WARM_UP_STEPS
from pa_keras.losses import (
    CircleLoss,
    ContrastiveLoss,
    MultiSimilarityLoss,
    References,
    SupConLoss,
    check_batch,
)
from pa_keras.models.embedding_model import expect_one_input_and_output

MEMORY_LOSSES = (CircleLoss, ContrastiveLoss, MultiSimilarityLoss, SupConLoss)


@keras.saving.register_keras_serializable("pa_keras")
class MemoryModel(keras.Model):
    """A functional model whose training loss also compares each batch with a `CrossBatchMemory`.

        L = loss(batch, batch) + weight * loss(batch, memory)

    The loss is the one given to `compile`. The memory contains the batch, without gradients; a row
    is not compared with its own copy. `evaluate` computes the loss of its batches alone and does
    not change the memory. Without a layer of that class this is a stock model.

    Args:
        inputs: Input of the model.
        outputs: Output of the model, the embeddings that a `CrossBatchMemory` passes on.
        name: Name of the model.

    Raises:
        ValueError: In training, the loss cannot use a memory, or a batch is larger than the memory.

    Example:
        >>> images = keras.Input((8,))
        >>> embeddings = CrossBatchMemory(64)(keras.layers.Dense(4)(images))
        >>> MemoryModel(images, embeddings).output_shape
        (None, 4)

    Source: Wang et al., Cross-Batch Memory for Embedding Learning, CVPR 2020, algorithm 1; the sum
    of both losses is from the authors' code.
    """

    def compute_loss(
        self,
        x: Any = None,
        y: Tensor | None = None,
        y_pred: Tensor | None = None,
        sample_weight: Tensor | None = None,
        training: bool = True,
    ) -> Tensor:
        """The loss of a batch, which in training is appended to the memory."""
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        memory = next((layer for layer in self.layers if isinstance(layer, CrossBatchMemory)), None)
        if memory is None or not training:
            return loss
        if not isinstance(self.loss, MEMORY_LOSSES):
            known = ", ".join(each.__name__ for each in MEMORY_LOSSES)
            raise ValueError(
                f"Expected a loss that can use a memory: {known}; received {self.loss!r}."
            )
        classes, embeddings, _ = check_batch(y, y_pred)
        slots, filled, started = memory.append(classes, embeddings)
        places = ops.arange(memory.size, dtype=integer_dtype())
        compared = (places < filled)[None, :] & (places[None, :] != slots[:, None])
        references = References(memory.queue.value, memory.labels.value, compared)
        with_memory = self.loss(y, y_pred, sample_weight, references)
        return loss + memory.weight * ops.where(started, with_memory, 0.0)


def with_memory(
    embedding_model: keras.Model, size: int, warm_up_steps: int = WARM_UP_STEPS, weight: float = 1.0
) -> keras.Model:
    """Builds the model to train with a pair loss and a memory of earlier batches.

    Args:
        embedding_model: Model to embeddings (B, D). It becomes a layer of the result under its own
            name and shares its weights, so after training it is the model to keep.
        size: M, the number of embeddings in the memory, at least the size of a batch.
        warm_up_steps: Number of steps without the memory. Default 1000, as in the authors' code.
        weight: Weight of the loss with the memory. Default 1, as in the authors' code.

    Returns:
        Model from the same input to embeddings (B, D). Compile it with `ContrastiveLoss`,
        `MultiSimilarityLoss`, `SupConLoss` or `CircleLoss`.

    Raises:
        ValueError: As for `CrossBatchMemory`; or if the model has no known input shape or several
            inputs or outputs.

    Example:
        >>> from pa_keras.losses import ContrastiveLoss
        >>> from pa_keras.models import embedding_model
        >>> model = with_memory(embedding_model("conv4", 64, (32, 32), weights=None), 4096)
        >>> model.compile("adamw", ContrastiveLoss())
        >>> model.output_shape
        (None, 64)
    """
    expect_one_input_and_output(embedding_model)
    images = keras.Input(embedding_model.input_shape[1:], name="images")
    memory = CrossBatchMemory(size, warm_up_steps, weight)
    return MemoryModel(images, memory(embedding_model(images)), name="with_memory")
