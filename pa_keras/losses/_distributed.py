"""The whole batch of `tf.distribute`, of which each replica has a part.

Keras divides the loss of each replica by their number and adds the gradients up. So replicas step
like one device where each has the loss of the whole batch, and gradients come back from all.
"""

import tensorflow as tf
from keras import ops


def several() -> bool:
    """Whether this runs on one of several replicas."""
    context = tf.distribute.get_replica_context()
    return context is not None and context.num_replicas_in_sync > 1


def gathered(part: tf.Tensor) -> tf.Tensor:
    """The parts (n, ...) of all replicas, below each other; n may differ. Gradients come back."""
    if not several():
        return part
    # Collectives do not take booleans.
    whole = tf.distribute.get_replica_context().all_gather(
        ops.cast(part, "int32") if part.dtype == tf.bool else part, axis=0
    )
    return ops.cast(whole, part.dtype)


def log_added(logs: tuple[tf.Tensor, ...]) -> tuple[tf.Tensor, ...]:
    """Logs of the sums, over the replicas, of what these finite logs (n,) are of.

    One log travels a sum, not its exponents, and no exponential overflows.
    """
    if not several():
        return logs
    added = tf.reduce_logsumexp(gathered(tf.stack(logs)[None]), axis=0)
    return tuple(tf.unstack(added, num=len(logs)))  # of several workers no shape is known


def weighted(terms: tf.Tensor) -> tf.Tensor:
    """Terms (n,) so that the mean of the replicas' means is the mean over the whole batch."""
    if not several():
        return terms
    context = tf.distribute.get_replica_context()
    own = ops.cast(ops.shape(terms)[0], "float32")
    total = context.all_reduce(tf.distribute.ReduceOp.SUM, own)
    return terms * (own * context.num_replicas_in_sync / total)
