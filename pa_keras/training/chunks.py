"""A batch in parts, one after another: what the step in chunks is made of."""

from collections.abc import Iterable

import keras
import tensorflow as tf


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


def backward(
    embedder: keras.Model, chunks: tf.Tensor, of_embeddings: tf.Tensor, at_start: list[tf.Tensor]
) -> list[tf.Tensor]:
    """The gradients of the embedder's weights, and its batch statistics moved on from the start."""
    weights, statistics = embedder.trainable_weights, batch_statistics(embedder)

    def add(sums, of_chunk):
        images, of_outputs = of_chunk
        put_back(statistics, at_start)
        with tf.GradientTape() as tape:
            outputs = embedder(images, training=True)
        found = tape.gradient(outputs, weights, of_outputs, tf.UnconnectedGradients.ZERO)
        gradients = [total + part for total, part in zip(sums[0], found, strict=True)]
        moved = [total + part for total, part in zip(sums[1], copies(statistics), strict=True)]
        return gradients, moved

    zeros = [tf.zeros(v.shape, v.dtype) for v in weights], [tf.zeros_like(v) for v in at_start]
    gradients, moved = tf.foldl(add, (chunks, of_embeddings), zeros, parallel_iterations=1)
    put_back(statistics, [total / chunks.shape[0] for total in moved])
    return gradients


def cut(batch: tf.Tensor, number: int) -> tf.Tensor:
    """(B, ...) to (n, B / n, ...), chunk i from the rows i, i + n and so on."""
    expect_chunks(number, batch.shape[0])
    rows = tf.reshape(batch, (-1, number, *batch.shape[1:]))
    return tf.einsum("bn...->nb...", rows)


def joined(chunks: tf.Tensor) -> tf.Tensor:
    """What `cut` has cut."""
    rows = tf.einsum("nb...->bn...", chunks)
    return tf.reshape(rows, (-1, *chunks.shape[2:]))


def random_states(model: keras.Model) -> list[keras.Variable]:
    """States of dropout and the like."""
    return [v for v in model.variables if v.path.endswith("seed_generator_state")]


def batch_statistics(model: keras.Model) -> list[keras.Variable]:
    """Means and variances of the batch norm that trains."""
    norms = [v for v in model._flatten_layers() if isinstance(v, keras.layers.BatchNormalization)]
    return [v for norm in norms if norm.trainable for v in (norm.moving_mean, norm.moving_variance)]


def copies(variables: Iterable[keras.Variable]) -> list[tf.Tensor]:
    """The values of now; the value itself would be read when it is used."""
    return [tf.identity(variable.value) for variable in variables]


def put_back(variables: Iterable[keras.Variable], values: Iterable[tf.Tensor]) -> None:
    """Gives variables the values that they had."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
