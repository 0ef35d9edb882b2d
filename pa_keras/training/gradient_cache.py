"""The gradient cache: forward and backward pass of a batch in chunks."""

from collections.abc import Iterable

import keras
import tensorflow as tf

from pa_keras.models import all_layers


def expect_chunks(chunks: int, batch_size: int | None = None, replicas: int = 1) -> None:
    """Raises a ValueError unless each replica's shard of a batch divides into equal chunks.

    Args:
        chunks: Number of chunks of each replica.
        batch_size: Number of images of all replicas. Default None: unknown.
        replicas: Number of replicas that share a batch. Default 1.
    """
    if chunks < 1:
        raise ValueError(f"Expected batch_chunks of 1 or more; received {chunks}.")
    if chunks > 1 and batch_size is not None and batch_size % (chunks * replicas):
        times = f" times {replicas} replicas" if replicas > 1 else ""
        raise ValueError(
            f"Expected a batch_size that batch_chunks={chunks}{times} divides; received a batch of "
            f"{batch_size}. Take another batch_size, or another number of chunks."
        )


def forward(embedder: keras.Model, images: tf.Tensor, number: int) -> tf.Tensor:
    """The embeddings of a batch, one chunk after another."""
    chunks = tf.map_fn(
        lambda place: embedder(chunk(images, place, number), training=True),
        tf.range(number),
        parallel_iterations=1,  # chunks in parallel would save no memory; the same holds below
        fn_output_signature=tf.as_dtype(embedder.output.dtype),
    )
    return tf.reshape(tf.einsum("nb...->bn...", chunks), (-1, *chunks.shape[2:]))


def backward(
    embedder: keras.Model,
    images: tf.Tensor,
    of_embeddings: tf.Tensor,
    number: int,
    at_start: list[tf.Tensor],
) -> list[tf.Tensor]:
    """The gradients of the embedder's weights; it also updates its batch statistics, once."""
    weights, statistics = embedder.trainable_weights, batch_statistics(embedder)

    def add(sums: list[list[tf.Tensor]], place: tf.Tensor) -> tuple[list, list]:
        put_back(statistics, at_start)
        with tf.GradientTape() as tape:
            outputs = embedder(chunk(images, place, number), training=True)
        of_outputs = chunk(of_embeddings, place, number)
        found = tape.gradient(outputs, weights, of_outputs, tf.UnconnectedGradients.ZERO)
        gradients = [total + part for total, part in zip(sums[0], found, strict=True)]
        moved = [total + part for total, part in zip(sums[1], copies(statistics), strict=True)]
        return gradients, moved

    # TensorFlow would turn `tf.zeros` into constants and keep three copies of each.
    zeros = [
        [tf.raw_ops.Empty(shape=v.shape, dtype=v.dtype, init=True) for v in values]
        for values in (weights, statistics)
    ]
    gradients, moved = tf.foldl(add, tf.range(number), zeros, parallel_iterations=1)
    put_back(statistics, [total / number for total in moved])
    return gradients


def chunk(batch: tf.Tensor, place: tf.Tensor, number: int) -> tf.Tensor:
    """Rows place, place + number and so on: (B, ...) to (B / number, ...)."""
    return tf.gather(tf.reshape(batch, (-1, number, *batch.shape[1:])), place, axis=1)


def random_states(model: keras.Model) -> list[keras.Variable]:
    """Random states of dropout and similar layers."""
    return [v for v in model.variables if v.path.endswith("seed_generator_state")]


def batch_statistics(model: keras.Model) -> list[keras.Variable]:
    """Moving means and variances of the batch normalization layers that train."""
    norms = [v for v in all_layers(model) if isinstance(v, keras.layers.BatchNormalization)]
    return [v for norm in norms if norm.trainable for v in (norm.moving_mean, norm.moving_variance)]


def copies(variables: Iterable[keras.Variable]) -> list[tf.Tensor]:
    """The present values; `variable.value` would be read only when it is used."""
    return [tf.identity(variable.value) for variable in variables]


def put_back(variables: Iterable[keras.Variable], values: Iterable[tf.Tensor]) -> None:
    """Restores the values of variables."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
