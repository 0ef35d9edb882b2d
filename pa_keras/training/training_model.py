"""The training model: a functional model with its own training step."""

from typing import Any

import keras
import tensorflow as tf

from pa_keras.compat import log_fallback
from pa_keras.models import MemoryModel
from pa_keras.models.batch_norm_folding import folded
from pa_keras.training.distribution import several_processes
from pa_keras.training.gradient_cache import (
    backward,
    batch_statistics,
    copies,
    expect_chunks,
    forward,
    put_back,
    random_states,
)


class TrainingModel(MemoryModel):
    """A functional model for training: faster, on several workers, or with a gradient cache.

    With a `CrossBatchMemory` layer, the loss is that of `MemoryModel`.

    Without chunks, batch normalization that does not train is `folded` into the convolutions before
    it. The model also works around two faults of `fit` under `MultiWorkerMirroredStrategy` (keras
    issue 20585).

    With `chunks`, the embedding model runs on one chunk of a batch after another. The gradient is
    that of the complete batch: with x_i the embeddings of chunk i, p the proxies and
    L(x_1 .. x_n, p) the loss of all embeddings,

        dL/dw = sum over i of dL/dx_i dx_i/dw

    The embedding model runs twice: once for all x_i, which give dL/dx_i, and once more for dx_i/dw,
    chunk by chunk. Only the activations of one chunk are in memory at a time. Chunk i has the
    images i, i + n, i + 2n and so on, so that the images of a class, which are neighbours in a
    balanced batch, are spread over the chunks.

    Dropout and stochastic depth draw the same numbers in both passes, and different ones for each
    chunk. Batch normalization that trains normalizes by its chunk, unlike without chunks; its
    statistics move once per step, towards the mean of those of the chunks.

    Args:
        inputs: Input of a functional model, whose layers this model shares. One of the layers is
            "embedding_model"; the layers after it, such as `Proxies`, form a chain.
        outputs: Output of that model.
        name: Name of the model. Default None: a name from Keras.
        chunks: Number of chunks n of each batch. Default 1: the training step of Keras.

    Raises:
        ValueError: chunks is below 1; in training, n does not divide the batch.

    Example:
        >>> from pa_keras.models import embedding_model, with_proxies
        >>> model = with_proxies(embedding_model("conv4", 64, (32, 32), weights=None), 98)
        >>> TrainingModel(model.input, model.output, chunks=4).output_shape
        (None, 98)

    Source: Gao et al., Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup,
    RepL4NLP 2021, section 3.2.
    """

    def __init__(self, inputs: Any, outputs: Any, name: str | None = None, chunks: int = 1):
        super().__init__(inputs, outputs, name=name)
        expect_chunks(chunks)
        self.chunks = chunks
        # A stock model, since `call` of this one calls the folded network.
        self._network = folded(keras.Model(inputs, outputs))

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if self.chunks > 1:  # chunks save memory, and a folded network copies the kernels
            return super().call(inputs, training, mask)
        return self._network(inputs, training)

    def train_step(self, data: tuple[tf.Tensor, ...]) -> dict[str, tf.Tensor]:
        """Runs one step of `fit` and returns its logs."""
        return self._reducible(self._step(data))

    def test_step(self, data: tuple[tf.Tensor, ...]) -> dict[str, tf.Tensor]:
        """Runs one step of `evaluate` and returns its logs."""
        return self._reducible(super().test_step(data))

    def _reducible(self, logs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The logs with a first axis, over which Keras averages if there are several workers."""
        if not several_processes(self.distribute_strategy):
            return logs
        return {name: keras.ops.reshape(value, (1,)) for name, value in logs.items()}

    def _step(self, data: tuple[tf.Tensor, ...]) -> dict[str, tf.Tensor]:
        embedder = self.get_layer("embedding_model") if self.chunks > 1 else None
        if embedder is None or not embedder.trainable_weights:
            return super().train_step(data)
        images, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
        expect_chunks(self.chunks, images.shape[0])
        seeds, statistics = random_states(embedder), batch_statistics(embedder)
        at_start = copies(seeds), copies(statistics)
        embeddings = forward(embedder, images, self.chunks)
        outputs, of_embeddings, gradients = self._from_loss(embeddings, labels, weights)
        put_back(seeds, at_start[0])
        of_embedder = backward(embedder, images, of_embeddings, self.chunks, at_start[1])
        self._update(gradients, embedder.trainable_weights, of_embedder)
        return self.compute_metrics(images, labels, outputs, sample_weight=weights)

    def _from_loss(
        self, embeddings: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor | None]]:
        """The outputs, and the gradients of the loss by the embeddings and by all weights."""
        with tf.GradientTape() as tape:
            tape.watch(embeddings)
            outputs = embeddings
            for layer in self._head():
                outputs = layer(outputs)
            loss = self.compute_loss(None, labels, outputs, weights, training=True)
            # Keras divides the loss by the number of replicas, since it sums their gradients.
            replicas = tf.distribute.get_strategy().num_replicas_in_sync
            tracker = next(metric for metric in self.metrics if metric.name == "loss")
            tracker.update_state(loss * replicas, tf.shape(embeddings)[0])
            loss = self.optimizer.scale_loss(loss)
        # By all weights: regularizers of the embedding model have to be counted, once.
        gradients = tape.gradient(loss, [embeddings, *self.trainable_weights])
        return outputs, gradients[0], gradients[1:]

    def _head(self) -> list[keras.layers.Layer]:
        names = [layer.name for layer in self.layers]
        return self.layers[names.index("embedding_model") + 1 :]

    def _update(
        self,
        gradients: list[tf.Tensor | None],
        weights: list[keras.Variable],
        of_weights: list[tf.Tensor],
    ) -> None:
        """Adds the gradients of some of the weights, and applies all gradients."""
        added = {id(weight): gradient for weight, gradient in zip(weights, of_weights, strict=True)}
        for place, weight in enumerate(self.trainable_weights):
            own, more = gradients[place], added.get(id(weight))
            gradients[place] = more if own is None else own if more is None else own + more
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        # Keras would reduce the first batch, with all its labels, over the replicas. Without a
        # strategy Keras builds nothing here, and needs no batch.
        stock = getattr(super(), "_maybe_symbolic_build", None)
        strategy = getattr(self, "_distribute_strategy", None)
        if stock is None:
            log_fallback(
                "keras.Model._maybe_symbolic_build",
                "Models are built in their first step: training on several workers may fail.",
            )
            return
        if iterator is not None and strategy is not None:
            for _, _, batches in iterator:
                data_batch = keras.tree.map_structure(
                    lambda values: strategy.experimental_local_results(values)[0], next(batches)
                )
                break
        stock(data_batch=data_batch)
