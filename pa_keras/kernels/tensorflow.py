"""The kernels on TensorFlow: fused, with explicit gradients, and for several replicas.

Automatic differentiation would keep one array of B x C numbers for each operation. The gradients
here keep a single one from the forward pass to the backward pass.

The global batch is that of `tf.distribute`, of which each replica has one shard. Keras divides the
loss of each replica by the number of replicas and sums the gradients. Replicas therefore step like
one device if each computes the loss of the global batch and gradients flow back through the
collectives.

`portable.py` documents the functions. Only TensorFlow may import this file.
"""

from collections.abc import Callable

import tensorflow as tf
from keras import ops

from pa_keras.compat import log_fallback
from pa_keras.kernels.tensors import NOTHING, TensorLike


@tf.custom_gradient
def cosines(embeddings: tf.Tensor, proxies: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """Cosines (B, C) without a normalized copy of the proxies: it divides the product instead."""
    scales = _inverse_lengths(embeddings)[:, None]
    proxy_scales = _inverse_lengths(proxies)
    unit = embeddings * scales
    cosines = tf.matmul(unit, proxies, transpose_b=True) * proxy_scales

    def gradient(of_cosines: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # The gradient of l2(v) is (g - l2(v) (l2(v) . g)) / |v|. In this order each product of
        # B x C numbers can reuse the memory of an array that is no longer needed.
        of_products = of_cosines * proxy_scales
        along = tf.reduce_sum(of_products * cosines, axis=0) * proxy_scales
        of_unit = tf.matmul(of_products, proxies)
        of_unit -= unit * tf.reduce_sum(of_unit * unit, axis=1, keepdims=True)
        of_proxies = tf.matmul(of_products, unit, transpose_a=True) - proxies * along[:, None]
        return of_unit * scales, of_proxies

    return cosines, gradient


def class_log_sums(
    labels: tf.Tensor, similarities: tf.Tensor, alpha: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Logs of each proxy's sums over the rows of its class and over all other rows.

    The gradient of a log-sum-exp is a softmax.
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

    return _log_added(log_sums(similarities))


def as_labels(labels: TensorLike) -> tf.Tensor:
    """Labels as a tensor of the same values."""
    return ops.convert_to_tensor(labels)


def expect(
    valid: tf.Tensor, problem: str, tensor: tf.Tensor, shown: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """The tensor and `valid`, both behind a check that `valid` is true.

    The check raises a ValueError in eager mode and is an assertion in graph mode. XLA drops
    assertions.
    """
    if tf.executing_eagerly():
        if not bool(valid):
            raise ValueError(f"{problem} {ops.convert_to_numpy(shown)}.")
        return tensor, valid
    with tf.control_dependencies([tf.debugging.Assert(valid, [problem, shown])]):
        return tf.identity(tensor), tf.identity(valid)


def gathered(part: tf.Tensor) -> tf.Tensor:
    """Concatenates the shards (n, ...) of all replicas; n may differ. It is differentiable."""
    if not _several():
        return part
    # Collectives do not accept booleans, nor a tensor without a device, such as an argument.
    whole = tf.distribute.get_replica_context().all_gather(
        ops.cast(part, "int32") if part.dtype == tf.bool else tf.identity(part), axis=0
    )
    return ops.cast(whole, part.dtype)


def weighted(terms: tf.Tensor) -> tf.Tensor:
    """Scales terms (n,) so that the mean of the replicas' means is that of the global batch."""
    if not _several():
        return terms
    context = tf.distribute.get_replica_context()
    own = ops.cast(ops.shape(terms)[0], "float32")
    total = context.all_reduce(tf.distribute.ReduceOp.SUM, own)
    return terms * (own * context.num_replicas_in_sync / total)


def largest(counts: tf.Tensor, limit: int | tf.Tensor) -> tf.Tensor:
    """The largest of some counts, for use as a dimension; `limit` under XLA, which needs that."""
    return limit if is_compiled_by_xla() else tf.reduce_max(counts)


def integer_dtype() -> str:
    """The widest integer dtype of the backend."""
    return "int64"


def is_compiled_by_xla() -> bool:
    """Whether XLA compiles the function that is being traced, which only a private name tells.

    Some operations that save memory on a CPU have no implementation in XLA. If the installed
    TensorFlow lacks the private name, the answer is True, so that callers use operations of XLA.

    Example:
        >>> is_compiled_by_xla()
        False
    """
    context = getattr(tf.__internal__, "get_enclosing_xla_context", None)
    if context is None:
        log_fallback(
            "tf.__internal__.get_enclosing_xla_context",
            "Losses with proxies use operations that XLA supports, which need more memory.",
        )
        return True
    return context() is not None


def _inverse_lengths(vectors: tf.Tensor) -> tf.Tensor:
    if is_compiled_by_xla():
        squared = tf.reduce_sum(tf.square(vectors), axis=1)
    else:
        # One pass, without an array of C x D squares. XLA lacks this operation, and fuses anyway.
        squared = tf.square(tf.math.reduce_euclidean_norm(vectors, axis=1))
    return tf.math.rsqrt(squared + 1e-12)


def _add_at(places: tf.Tensor, values: tf.Tensor, array: tf.Tensor) -> tf.Tensor:
    """Adds values at places of an array, in place if nothing else needs the array."""
    if is_compiled_by_xla():
        return tf.tensor_scatter_nd_add(array, places, values)
    # The operation above copies the B x C numbers on a CPU; XLA does not have the one below.
    return tf.raw_ops.ScatterNdNonAliasingAdd(input=array, indices=places, updates=values)


def _several() -> bool:
    """Whether the caller runs on one of several replicas."""
    context = tf.distribute.get_replica_context()
    return context is not None and context.num_replicas_in_sync > 1


def _log_added(logs: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
    """Logs of sums over all replicas, from the finite logs (n,) of each replica's sums.

    Replicas exchange one log for each sum, not its exponents, and no exponential overflows.
    """
    if not _several():
        return logs
    added = tf.reduce_logsumexp(gathered(tf.stack(logs)[None]), axis=0)
    return tuple(tf.unstack(added, num=len(logs)))  # with several workers the shape is unknown
