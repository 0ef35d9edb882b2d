"""Devices that train on one batch together, through `tf.distribute`."""

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import keras
import tensorflow as tf

from pa_keras.models import all_layers
from pa_keras.pipelines import Share
from pa_keras.training import cluster_resolvers

logger = logging.getLogger(__name__)

Name = Literal["none", "mirrored", "multi_worker", "tpu"]


def make_strategy(
    name: Name, cluster: cluster_resolvers.Cluster = "auto"
) -> tf.distribute.Strategy:
    """The strategy of that name; "multi_worker" must be made before TensorFlow does anything.

    Args:
        name: "none": one device; "mirrored": the GPUs of this machine, or where there is none, its
            logical CPUs; "multi_worker": those of several processes; "tpu".
        cluster: as of `cluster_resolvers.resolver`.

    Raises:
        ValueError: the other workers, or the TPU, cannot be found.

    Example:
        >>> make_strategy("none").num_replicas_in_sync
        1
    """
    match name:
        case "none":
            return tf.distribute.get_strategy()
        case "mirrored":
            return _mirrored()
        case "multi_worker":
            return _multi_worker(cluster_resolvers.resolver(cluster))
        case "tpu":
            return _tpu()
    raise ValueError(
        f"Expected training.strategy none, mirrored, multi_worker or tpu; received {name!r}."
    )


def several_processes(strategy: tf.distribute.Strategy) -> bool:
    """Whether other processes train on the same batches."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return False
    cluster = strategy.cluster_resolver.cluster_spec()
    return sum(cluster.num_tasks(job) for job in cluster.jobs) > 1


def device_kind(strategy: tf.distribute.Strategy) -> Literal["CPU", "GPU", "TPU"]:
    """The kind of device that trains: a TPU, else a GPU if TensorFlow sees one, else the CPU.

    Example:
        >>> device_kind(make_strategy("none"))
        'CPU'
    """
    if isinstance(strategy, tf.distribute.TPUStrategy):
        return "TPU"
    return "GPU" if tf.config.list_physical_devices("GPU") else "CPU"


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes: the only one, the chief, or worker 0."""
    if not several_processes(strategy):
        return True
    found = strategy.cluster_resolver
    is_first = found.task_id == 0 and "chief" not in found.cluster_spec().jobs
    return found.task_type == "chief" or is_first


@contextmanager
def naming_lost_workers(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """What TensorFlow raises where another worker goes away, in words.

    Raises:
        ConnectionError: another worker went away.
    """
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as error:
        if not several_processes(strategy):
            raise
        raise ConnectionError(
            f"Expected every worker to go on; {_lost(strategy, str(error))} died, was stopped or "
            "cannot be reached. Its own log says why. This worker stops as well; start all of "
            "them again with --resume: they go on from the last saved state."
        ) from error


def distributed(
    make: Callable[[Share], tf.data.Dataset], strategy: tf.distribute.Strategy
) -> tf.data.Dataset | tf.distribute.DistributedDataset:
    """Batches of which each replica gets its part, and each worker makes those of its own replicas.

    Args:
        make: makes the parts of the batches that a share says, or by `Share()` the whole ones.
        strategy: of the replicas; with one of them the batches stay whole.

    Example:
        >>> batches = distributed(lambda share: tf.data.Dataset.range(3), make_strategy("none"))
        >>> int(next(iter(batches)))
        0
    """
    if strategy.num_replicas_in_sync == 1:
        return make(Share())

    def of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        replicas = context.num_replicas_in_sync
        own = replicas // context.num_input_pipelines
        return make(Share(replicas, context.input_pipeline_id * own, own))

    return strategy.distribute_datasets_from_function(of_worker)


def share_batch_statistics(model: keras.Model) -> None:
    """Lets batch norm, where it trains, take mean and variance of the whole batch.

    Args:
        model: made in the scope of its strategy; with one replica it stays as it is.
    """
    if model.distribute_strategy.num_replicas_in_sync == 1:
        return
    for layer in all_layers(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True


def any_worker(flag: bool, strategy: tf.distribute.Strategy) -> bool:
    """Whether the flag is set in any of the workers; each waits here for all the others.

    So they take a decision together: all must ask at the same moment of their training.

    Args:
        flag: of this worker.
        strategy: of the run; where it has one process, the flag is the answer.

    Raises:
        tf.errors.UnavailableError: a worker went away; `naming_lost_workers` says it in words.

    Example:
        >>> any_worker(True, make_strategy("none"))
        True
    """
    if not several_processes(strategy):
        return flag
    return _sum_over_workers(int(flag), strategy) > 0


def all_have(value: int, strategy: tf.distribute.Strategy) -> bool:
    """Whether the value is the same in all workers; each waits here for all the others.

    Args:
        value: of this worker, such as the step that it goes on from.
        strategy: of the run; where it has one process, there is nothing to differ.

    Raises:
        tf.errors.UnavailableError: a worker went away; `naming_lost_workers` says it in words.

    Example:
        >>> all_have(7, make_strategy("none"))
        True
    """
    if not several_processes(strategy):
        return True
    differs = _sum_over_workers(value, strategy) != value * strategy.num_replicas_in_sync
    return not any_worker(differs, strategy)


def _sum_over_workers(value: int, strategy: tf.distribute.Strategy) -> int:
    values = strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(value, tf.int64)
    )
    return int(strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None))


def _mirrored() -> tf.distribute.Strategy:
    gpus = tf.config.list_logical_devices("GPU")
    devices = [device.name for device in gpus or tf.config.list_logical_devices("CPU")]
    if len(devices) == 1:
        logger.warning("training.strategy=mirrored has one device alone: %s.", devices[0])
    # Collectives among the CPUs of one process mix up the keys of several models.
    reduction = None if gpus else tf.distribute.ReductionToOneDevice()
    return tf.distribute.MirroredStrategy(devices, cross_device_ops=reduction)


def _multi_worker(found: cluster_resolvers.Resolver) -> tf.distribute.Strategy:
    workers = found.cluster_spec().as_dict()
    logger.info(
        "%s %d of %s; training begins when all have started.", found.task_type, found.task_id,
        ", ".join(address for job in sorted(workers) for address in workers[job]),
    )  # fmt: skip
    return tf.distribute.MultiWorkerMirroredStrategy(found)


def _tpu() -> tf.distribute.Strategy:
    try:
        found = tf.distribute.cluster_resolver.TPUClusterResolver()
        tf.config.experimental_connect_to_cluster(found)
        tf.tpu.experimental.initialize_tpu_system(found)
    except (ValueError, OSError, tf.errors.OpError) as error:
        raise ValueError(
            f"Expected a TPU for training.strategy=tpu; {error}. Set TPU_NAME to its name, or to "
            "local on a TPU VM."
        ) from error
    return tf.distribute.TPUStrategy(found)


def _lost(strategy: tf.distribute.Strategy, message: str) -> str:
    """The workers that TensorFlow's message is about, which names those that it cannot reach."""
    found = strategy.cluster_resolver
    tasks = set(re.findall(r"/job:(\w+)(?:/replica:\d+)?/task:(\d+)", message))
    tasks.discard((found.task_type, str(found.task_id)))
    return ", ".join(f"{kind} {number}" for kind, number in sorted(tasks)) or "another worker"
