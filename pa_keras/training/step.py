"""The one model with a step of its own."""

from collections.abc import Iterable

import keras
import tensorflow as tf


class TrainingModel(keras.Model):
    """A functional model that `fit` can also train on a batch in parts, one after another.

    The gradient is that of the whole batch, as the loss is: with x_i the embeddings of chunk i and
    L(x_1 .. x_n, p) the loss of all of them, p the proxies,

        dL/dw = sum over i of dL/dx_i dx_i/dw

    The embedding model runs twice: by itself, for all x_i and dL/dx_i, and again for dx_i/dw, of
    one chunk at a time. In memory are the activations of a chunk in place of those of the batch.
    Chunk i is the images i, i + n, i + 2n and so on: those of a class lie next to each other in a
    balanced batch, and come into different chunks.

    Dropout and stochastic depth draw the same numbers both times, other ones for each chunk. Batch
    norm that trains normalises by its chunk, which is another network than that of the whole batch;
    its statistics move once a step, towards the mean of those of the chunks.

    Args:
        inputs, outputs, name: `input` and `output` of a functional model, whose layers this one
            shares; one of them is "embedding_model", and those after it, such as `Proxies`, follow
            one another.
        chunks: n, parts that each batch is cut into; 1: the step of Keras. Default 1.

    Raises:
        ValueError: chunks below 1; in training, a batch that n does not divide.

    Example:
        >>> from pa_keras.models import embedding_model, with_proxies
        >>> model = with_proxies(embedding_model("conv4", 64, (32, 32), weights=None), 98)
        >>> TrainingModel(model.input, model.output, chunks=4).output_shape
        (None, 98)

    Source: Gao et al., Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup,
    RepL4NLP 2021, section 3.2.
    """

    def __init__(self, inputs, outputs, name: str | None = None, chunks: int = 1):
        super().__init__(inputs, outputs, name=name)
        expect_chunks(chunks)
        self.chunks = chunks

    def train_step(self, data: tuple[tf.Tensor, ...]) -> dict[str, tf.Tensor]:
        """One step of `fit`, and its logs."""
        embedder = self.get_layer("embedding_model") if self.chunks > 1 else None
        if embedder is None or not embedder.trainable_weights:
            return super().train_step(data)
        images, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
        chunks = _cut(images, self.chunks)
        seeds, statistics = _seeds(embedder), _statistics(embedder)
        at_start = _values(seeds), _values(statistics)
        # Not at the same time, or nothing would be saved; so below.
        embeddings = _joined(
            tf.map_fn(
                lambda chunk: embedder(chunk, training=True),
                chunks,
                parallel_iterations=1,
                fn_output_signature=tf.as_dtype(embedder.output.dtype),
            )
        )
        outputs, of_embeddings, gradients = self._from_loss(embeddings, labels, weights)
        _assign(seeds, at_start[0])
        of_embedder = _back(embedder, chunks, _cut(of_embeddings, self.chunks), at_start[1])
        self._update(gradients, embedder.trainable_weights, of_embedder)
        return self.compute_metrics(images, labels, outputs, sample_weight=weights)

    def _from_loss(
        self, embeddings: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor, list[tf.Tensor | None]]:
        """What follows the embeddings, and the gradients of embeddings and weights before them."""
        with tf.GradientTape() as tape:
            tape.watch(embeddings)
            outputs = embeddings
            for layer in self._head():
                outputs = layer(outputs)
            loss = self.compute_loss(None, labels, outputs, weights, training=True)
            # Keras divides the loss by the replicas, since their gradients are added up.
            replicas = tf.distribute.get_strategy().num_replicas_in_sync
            self._loss_tracker.update_state(loss * replicas, tf.shape(embeddings)[0])
            loss = self.optimizer.scale_loss(loss)
        # Of all weights: those of the embedding model may have regularizers, counted here once.
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
        """Adds to the gradients those of some of the weights, and applies all of them."""
        added = {id(weight): gradient for weight, gradient in zip(weights, of_weights, strict=True)}
        for place, weight in enumerate(self.trainable_weights):
            own, more = gradients[place], added.get(id(weight))
            gradients[place] = more if own is None else own if more is None else own + more
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))


def expect_chunks(chunks: int, batch_size: int | None = None, replicas: int = 1) -> None:
    """Raises a ValueError unless each replica's part of a batch is as many chunks of one size.

    Args:
        chunks: of each replica.
        batch_size: images of all replicas. Default None: not known.
        replicas: that share a batch. Default 1.
    """
    if chunks < 1:
        raise ValueError(f"Expected batch_chunks of 1 or more; received {chunks}.")
    if chunks > 1 and batch_size is not None and batch_size % (chunks * replicas):
        times = f" times {replicas} replicas" if replicas > 1 else ""
        raise ValueError(
            f"Expected a batch_size that batch_chunks={chunks}{times} divides; received a batch of "
            f"{batch_size}. Take another batch_size, or another number of chunks."
        )


def _back(
    embedder: keras.Model, chunks: tf.Tensor, of_embeddings: tf.Tensor, at_start: list[tf.Tensor]
) -> list[tf.Tensor]:
    """The gradients of the embedder's weights, and its batch statistics moved on from the start."""
    weights, statistics = embedder.trainable_weights, _statistics(embedder)

    def add(sums, of_chunk):
        images, of_outputs = of_chunk
        _assign(statistics, at_start)
        with tf.GradientTape() as tape:
            outputs = embedder(images, training=True)
        found = tape.gradient(outputs, weights, of_outputs, tf.UnconnectedGradients.ZERO)
        gradients = [total + part for total, part in zip(sums[0], found, strict=True)]
        moved = [total + part for total, part in zip(sums[1], _values(statistics), strict=True)]
        return gradients, moved

    zeros = [tf.zeros(v.shape, v.dtype) for v in weights], [tf.zeros_like(v) for v in at_start]
    gradients, moved = tf.foldl(add, (chunks, of_embeddings), zeros, parallel_iterations=1)
    _assign(statistics, [total / chunks.shape[0] for total in moved])
    return gradients


def _cut(batch: tf.Tensor, number: int) -> tf.Tensor:
    """(B, ...) to (n, B / n, ...), chunk i from the rows i, i + n and so on."""
    expect_chunks(number, batch.shape[0])
    rows = tf.reshape(batch, (-1, number, *batch.shape[1:]))
    return tf.einsum("bn...->nb...", rows)


def _joined(chunks: tf.Tensor) -> tf.Tensor:
    """What `_cut` has cut."""
    rows = tf.einsum("nb...->bn...", chunks)
    return tf.reshape(rows, (-1, *chunks.shape[2:]))


def _seeds(model: keras.Model) -> list[keras.Variable]:
    """States of dropout and the like."""
    return [v for v in model.variables if v.path.endswith("seed_generator_state")]


def _statistics(model: keras.Model) -> list[keras.Variable]:
    """Means and variances of the batch norm that trains."""
    norms = [v for v in model._flatten_layers() if isinstance(v, keras.layers.BatchNormalization)]
    return [v for norm in norms if norm.trainable for v in (norm.moving_mean, norm.moving_variance)]


def _values(variables: Iterable[keras.Variable]) -> list[tf.Tensor]:
    # Copies: the value itself is read when it is used.
    return [tf.identity(variable.value) for variable in variables]


def _assign(variables: Iterable[keras.Variable], values: Iterable[tf.Tensor]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
