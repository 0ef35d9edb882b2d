"""The layer that holds a queue of embeddings of earlier batches, XBM (Wang et al., CVPR 2020)."""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from pa_keras.arguments.integers import as_integer

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
        >>> int(filled), memory.labels.numpy()
        (2, array([7, 8, 0, 0]))

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
        self.labels = self._state("labels", (self.size,), "int64")
        self.next_slot = self._state("next_slot", (), "int64")
        self.filled = self._state("filled", (), "int64")
        self.steps = self._state("steps", (), "int64")

    def call(self, embeddings: tf.Tensor) -> tf.Tensor:
        return embeddings

    def append(
        self, classes: tf.Tensor, embeddings: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Replaces the oldest entries of the queue by a batch.

        Args:
            classes: Class IDs of the global batch, int64 (B,).
            embeddings: Its embeddings (B, D), float32. No gradient flows into the queue.

        Returns:
            The slot of each row, int64 (B,); the number of slots in use, int64; whether the warm-up
            is over. During the warm-up only the slots of this batch are in use.

        Raises:
            ValueError: If the batch is larger than the queue and its size is known.
            tf.errors.InvalidArgumentError: If the batch is larger than the queue, in graph mode.
        """
        classes = ops.cast(classes, "int64")
        embeddings = ops.cast(ops.convert_to_tensor(embeddings), "float32")
        problem = f"Expected a batch of at most {self.size} rows, the size of the memory"
        if embeddings.shape[0] is not None and embeddings.shape[0] > self.size:
            raise ValueError(f"{problem}; received {embeddings.shape[0]}. Enlarge the memory.")
        number = tf.shape(embeddings, tf.int64)[0]
        tf.debugging.assert_less_equal(number, tf.constant(self.size, tf.int64), problem)
        started = self.steps.value >= self.warm_up_steps
        slots = (self.next_slot.value + tf.range(number, dtype=tf.int64)) % self.size
        filled = tf.minimum(self.filled.value + number, self.size)
        rows = tf.stop_gradient(embeddings)
        self.queue.assign(tf.tensor_scatter_nd_update(self.queue.value, slots[:, None], rows))
        self.labels.assign(tf.tensor_scatter_nd_update(self.labels.value, slots[:, None], classes))
        kept = tf.cast(started, tf.int64)  # in the warm-up, the next batch starts the queue again
        self.next_slot.assign(kept * ((self.next_slot.value + number) % self.size))
        self.filled.assign(kept * filled)
        self.steps.assign(self.steps.value + 1)
        return slots, filled, started

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        own = {"size": self.size, "warm_up_steps": self.warm_up_steps, "weight": self.weight}
        return {**super().get_config(), **own}

    def _state(self, name: str, shape: tuple[int, ...], dtype: str) -> keras.Variable:
        # All replicas append the same global batch.
        return self.add_weight(
            name=name, shape=shape, initializer="zeros", dtype=dtype, trainable=False,
            autocast=False, aggregation="only_first_replica",
        )  # fmt: skip
