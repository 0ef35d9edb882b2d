"""What several losses are made of: unit vectors, distances, logarithms of sums, means."""

import tensorflow as tf
from keras import ops


def unit(vectors: tf.Tensor) -> tf.Tensor:
    """Rows of unit length: v / sqrt(sum(v^2) + 1e-12)."""
    return vectors * ops.rsqrt(ops.sum(ops.square(vectors), axis=-1, keepdims=True) + 1e-12)


def distances(embeddings: tf.Tensor) -> tf.Tensor:
    """Euclidean distances (B, B) of the rows to each other; their gradient at 0 is 0."""
    squares = ops.sum(ops.square(embeddings), axis=1)
    products = ops.matmul(embeddings, ops.transpose(embeddings))
    squared = ops.maximum(squares[:, None] + squares[None, :] - 2 * products, 0.0)
    apart = squared > 0
    return ops.where(apart, ops.sqrt(ops.where(apart, squared, 1.0)), 0.0)


def share(terms: tf.Tensor, members: tf.Tensor) -> tf.Tensor:
    """Terms (B, ...) to (B,) whose mean is the mean of the terms over their members; 0 of none."""
    number = ops.maximum(ops.sum(ops.cast(members, "float32")), 1.0)
    of_rows = ops.where(members, terms, 0.0)
    if len(terms.shape) > 1:
        of_rows = ops.sum(of_rows, axis=tuple(range(1, len(terms.shape))))
    return of_rows * ops.cast(ops.shape(terms)[0], "float32") / number


def cross_entropy(
    logits: tf.Tensor, own: tf.Tensor, target_in_denominator: bool = True
) -> tf.Tensor:
    """-log of each row's softmax at its own class, (B,), by log-sum-exp.

    Args:
        logits: float32 (B, C).
        own: booleans (B, C), one true a row.
        target_in_denominator: whether the own class is among those it is compared with.
    """
    target = ops.sum(ops.where(own, logits, 0.0), axis=1)
    others = logits if target_in_denominator else ops.where(own, -float("inf"), logits)
    return ops.logsumexp(others, axis=1) - target


def log_one_plus_sum_exp(exponents: tf.Tensor, members: tf.Tensor, axis: int) -> tf.Tensor:
    """log(1 + sum over the members along an axis of exp(exponents)); log(1) without members.

    softplus of the log-sum-exp keeps full precision both where the sum is far below 1 and where
    its exponential would overflow.

    Args:
        exponents: float32.
        members: booleans of the same shape.
        axis: to sum along.
    """
    occupied = ops.any(members, axis=axis)
    exponents = ops.where(members, exponents, -float("inf"))
    # A shift cancels out of the value, so it must not receive a gradient.
    shift = ops.stop_gradient(ops.where(occupied, ops.max(exponents, axis=axis), 0.0))
    shifted = exponents - ops.expand_dims(shift, axis)
    total = ops.where(occupied, ops.sum(ops.exp(shifted), axis=axis), 1.0)
    return ops.where(occupied, ops.softplus(ops.log(total) + shift), 0.0)
