"""The global batch of `tf.distribute`, of which each replica has one shard.

Keras divides the loss of each replica by the number of replicas and sums the gradients. Replicas
therefore step like one device if each computes the loss of the global batch and gradients flow back
through the collectives.
"""

import tensorflow as tf
from keras import ops


def several() -> bool:
    """Whether the caller runs on one of several replicas."""
    context = tf.distribute.get_replica_context()
    return context is not None and context.num_replicas_in_sync > 1


def gathered(part: tf.Tensor) -> tf.Tensor:
    """Concatenates the shards (n, ...) of all replicas; n may differ. It is differentiable."""
    if not several():
        return part
    # Collectives do not accept booleans, nor a tensor without a device, such as an argument.
    whole = tf.distribute.get_replica_context().all_gather(
        ops.cast(part, "int32") if part.dtype == tf.bool else tf.identity(part), axis=0
    )
    return ops.cast(whole, part.dtype)


def log_added(logs: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
    """Logs of sums over all replicas, from the finite logs (n,) of each replica's sums.

    Replicas exchange one log for each sum, not its exponents, and no exponential overflows.
    """
    if not several():
        return logs
    added = tf.reduce_logsumexp(gathered(tf.stack(logs)[None]), axis=0)
    return tuple(tf.unstack(added, num=len(logs)))  # with several workers the shape is unknown


def weighted(terms: tf.Tensor) -> tf.Tensor:
    """Scales terms (n,) so that the mean of the replicas' means is that of the global batch."""
    if not several():
        return terms
    context = tf.distribute.get_replica_context()
    own = ops.cast(ops.shape(terms)[0], "float32")
    total = context.all_reduce(tf.distribute.ReduceOp.SUM, own)
    return terms * (own * context.num_replicas_in_sync / total)
