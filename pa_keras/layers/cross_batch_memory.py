"""The layer that holds a queue of embeddings of earlier batches, XBM (Wang et al., CVPR 2020)."""

from typing import Any

import keras
import numpy as np
from keras import ops

from pa_keras import kernels
from pa_keras.arguments.integers import as_integer
from pa_keras.kernels.tensors import Tensor

# Default of the authors' code.
WARM_UP_STEPS = 1000


@keras.saving.register_keras_serializable("pa_keras")
class CrossBatchMemory(keras.layers.Layer):
    """A queue of the embeddings and labels of earlier batches, for `MemoryModel`.

    The layer passes embeddings on unchanged. `MemoryModel` appends each batch to the queue. The
    queue is part of the weights, so that models are saved and resumed with it; it does not train.
    During the first `warm_up_steps` steps, in which embeddings change too fast for a memory, the
    queue is not used and remains empty.

    Args:
        size: M, the number of embeddings in the queue, at least the size of a batch.
        warm_up_steps: Number of steps without the memory. Default 1000, as in the authors' code.
        weight: Weight of the loss with the memory. Default 1, as in the authors' code.
        name: Name of the layer. Default "memory".

    Call:
        Embeddings (B, D) to the same embeddings.

    Raises:
        ValueError: If size is below 2, warm_up_steps below 0, or one of them is not an integer; if
            weight is not above 0; or if the embeddings do not have rank 2.

    Example:
        >>> memory = CrossBatchMemory(4, warm_up_steps=0)
        >>> embeddings = memory(np.array([[1.0, 0.0], [0.0, 1.0]]))
        >>> slots, filled, started = memory.append([7, 8], embeddings)
        >>> int(filled), memory.labels.numpy().tolist()
        (2, [7, 8, 0, 0])

    Source: Wang et al., Cross-Batch Memory for Embedding Learning, CVPR 2020, algorithm 1.
    """

    def __init__(
        self,
        size: int,
        warm_up_steps: int = WARM_UP_STEPS,
        weight: float = 1.0,
        name: str = "memory",
        **base_options: Any,
    ) -> None:
        super().__init__(name=name, autocast=False, **{**base_options, "dtype": "float32"})
        self.size = as_integer("size", size, least=2)
        self.warm_up_steps = as_integer("warm_up_steps", warm_up_steps, least=0)
        if not weight > 0:
            raise ValueError(f"Expected weight > 0; received {weight}.")
        self.weight = weight

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        if len(input_shape) != 2 or input_shape[-1] is None:
            raise ValueError(
                "Expected embeddings of shape (batch, embedding_size); received "
                f"{tuple(input_shape)}."
            )
        self.queue = self._state("queue", (self.size, input_shape[-1]), "float32")
        integer = kernels.integer_dtype()
        self.labels = self._state("labels", (self.size,), integer)
        self.next_slot = self._state("next_slot", (), integer)
        self.filled = self._state("filled", (), integer)
        self.steps = self._state("steps", (), integer)

    def load_own_variables(self, store: Any) -> None:
        """Loads the queue; raises a ValueError if the backend cannot hold the class IDs in it."""
        labels = next(place for place, each in enumerate(self.variables) if each is self.labels)
        kernels.as_labels(np.asarray(store[str(labels)]))
        super().load_own_variables(store)

    def call(self, embeddings: Tensor) -> Tensor:
        return embeddings

    def append(self, classes: Tensor, embeddings: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Replaces the oldest entries of the queue by a batch.

        Args:
            classes: Class IDs of the global batch, integers (B,).
            embeddings: Its embeddings (B, D), float32. No gradient flows into the queue.

        Returns:
            The slot of each row, integers (B,); the number of slots in use; whether the warm-up is
            over. During the warm-up only the slots of this batch are in use.

        Raises:
            ValueError: If the batch is larger than the queue and its size is known.
            tf.errors.InvalidArgumentError: If the batch is larger than the queue, in graph mode.
        """
        classes = ops.cast(kernels.as_labels(classes), kernels.integer_dtype())
        embeddings = ops.cast(ops.convert_to_tensor(embeddings), "float32")
        problem = f"Expected a batch of at most {self.size} rows, the size of the memory; received"
        number = ops.shape(embeddings)[0]
        if not isinstance(number, int):  # unknown when TensorFlow traces the step
            number, _ = kernels.expect(number <= self.size, problem, number, number)
        elif number > self.size:
            raise ValueError(f"{problem} {number}. Enlarge the memory.")
        number = ops.cast(number, kernels.integer_dtype())
        started = self.steps.value >= self.warm_up_steps
        slots = ops.arange(ops.shape(embeddings)[0], dtype=kernels.integer_dtype())
        slots = (self.next_slot.value + slots) % self.size
        filled = ops.minimum(self.filled.value + number, self.size)
        rows = ops.stop_gradient(embeddings)
        self.queue.assign(ops.scatter_update(self.queue.value, slots[:, None], rows))
        self.labels.assign(ops.scatter_update(self.labels.value, slots[:, None], classes))
        # In the warm-up, the next batch starts the queue again.
        kept = ops.cast(started, kernels.integer_dtype())
        self.next_slot.assign(kept * ((self.next_slot.value + number) % self.size))
        self.filled.assign(kept * filled)
        self.steps.assign(self.steps.value + 1)
        return slots, filled, started

    def get_config(self) -> dict[str, Any]:
        own = {"size": self.size, "warm_up_steps": self.warm_up_steps, "weight": self.weight}
        return {**super().get_config(), **own}

    def _state(self, name: str, shape: tuple[int, ...], dtype: str) -> keras.Variable:
        # All replicas append the same global batch.
        return self.add_weight(
            name=name, shape=shape, initializer="zeros", dtype=dtype, trainable=False,
            autocast=False, aggregation="only_first_replica",
        )  # fmt: skip
