"""Logarithms of sums over a batch, two a proxy, and their gradient written out.

The gradient of each exponent is its share of its own sum, so that of all B x C numbers only one
array is kept between the two ways, where automatic differentiation keeps one an operation.
"""

from collections.abc import Callable

import tensorflow as tf

from pa_keras.compat import is_compiled_by_xla

# Log of a sum without members. Finite, since -inf less itself would be NaN.
NOTHING = float(tf.float32.min)


def class_log_sums(
    labels: tf.Tensor, similarities: tf.Tensor, alpha: float
) -> tuple[tf.Tensor, tf.Tensor]:
    r"""Logs of the sums, for each proxy, over the rows of its class and over the other rows.

        positive_c = log sum_{i: y_i = c} exp(-alpha s_ic)
        negative_c = log sum_{i: y_i != c} exp(alpha s_ic)

    Args:
        labels: integers (B,), in [0, C).
        similarities: float32 (B, C).
        alpha: scale, > 0.

    Returns:
        Two float32 (C,); `NOTHING`, to rounding, where there is no such row.
    """
    num_classes = similarities.shape[1]
    own = tf.stack([tf.range(tf.shape(labels, labels.dtype)[0], dtype=labels.dtype), labels], 1)

    @tf.custom_gradient
    def log_sums(similarities: tf.Tensor) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable]:
        # A row has one positive entry: B numbers, gathered, not a mask of B x C.
        pull = -alpha * tf.gather_nd(similarities, own)
        largest_pull = tf.math.unsorted_segment_max(pull, labels, num_classes)
        pull = tf.exp(pull - tf.gather(largest_pull, labels))
        # A class with rows has the largest, exp(0), in its sum.
        pulls = tf.maximum(tf.math.unsorted_segment_sum(pull, labels, num_classes), 1.0)

        # Of no part in the largest, nor in the sum, nor in the gradient, of which it leaves 0.
        push = _add_at(own, tf.fill(tf.shape(labels), NOTHING), alpha * similarities)
        largest_push = tf.reduce_max(push, axis=0)
        push = tf.exp(push - largest_push)
        pushes = tf.reduce_sum(push, axis=0)

        def gradient(of_positive: tf.Tensor, of_negative: tf.Tensor) -> tf.Tensor:
            of_pull = -alpha * pull * tf.gather(of_positive / pulls, labels)
            return _add_at(own, of_pull, push * (alpha * of_negative / pushes))

        sums = tf.math.log(pulls) + largest_pull, tf.math.log(pushes) + largest_push
        return sums, gradient

    return log_sums(similarities)


def _add_at(places: tf.Tensor, values: tf.Tensor, array: tf.Tensor) -> tf.Tensor:
    """The array with values added at places, in its own memory when nothing else needs it."""
    if is_compiled_by_xla():
        return tf.tensor_scatter_nd_add(array, places, values)
    # The operation above copies the B x C numbers on a CPU; XLA lacks this one.
    return tf.raw_ops.ScatterNdNonAliasingAdd(input=array, indices=places, updates=values)
