"""The two log-sum-exps of each proxy over a batch, with an explicit gradient.

The gradient of a log-sum-exp is a softmax, so that a single array of B x C numbers is kept from the
forward pass to the backward pass. Automatic differentiation would keep one for each operation.
"""

from collections.abc import Callable

import tensorflow as tf

from pa_keras.compat import is_compiled_by_xla

# Log of an empty sum. It is finite, since -inf minus -inf would be NaN.
NOTHING = float(tf.float32.min)


def class_log_sums(
    labels: tf.Tensor, similarities: tf.Tensor, alpha: float
) -> tuple[tf.Tensor, tf.Tensor]:
    r"""Logs of each proxy's sums over the rows of its class and over all other rows.

        positive_c = log sum_{i: y_i = c} exp(-alpha s_ic)
        negative_c = log sum_{i: y_i != c} exp(alpha s_ic)

    Args:
        labels: Class IDs (B,) in [0, C), integers.
        similarities: Cosines (B, C), float32.
        alpha: Scale, > 0.

    Returns:
        The positive and the negative logs, float32 (C,) each; about `NOTHING` for an empty sum.
    """
    num_classes = similarities.shape[1]
    own = tf.stack([tf.range(tf.shape(labels, labels.dtype)[0], dtype=labels.dtype), labels], 1)

    @tf.custom_gradient
    def log_sums(similarities: tf.Tensor) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable]:
        # Each row has one positive entry, so B numbers are gathered, without a mask of B x C.
        pull = -alpha * tf.gather_nd(similarities, own)
        largest_pull = tf.math.unsorted_segment_max(pull, labels, num_classes)
        pull = tf.exp(pull - tf.gather(largest_pull, labels))
        # The sum of a class with rows is at least exp(0) = 1, the term of its maximum.
        pulls = tf.maximum(tf.math.unsorted_segment_sum(pull, labels, num_classes), 1.0)

        # Mask each row's own class, so that it adds nothing to the maximum, sum or gradient.
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
    """Adds values at places of an array, in place if nothing else needs the array."""
    if is_compiled_by_xla():
        return tf.tensor_scatter_nd_add(array, places, values)
    # The operation above copies the B x C numbers on a CPU; XLA does not have the one below.
    return tf.raw_ops.ScatterNdNonAliasingAdd(input=array, indices=places, updates=values)
