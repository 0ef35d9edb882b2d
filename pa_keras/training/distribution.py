"""Training on several devices or processes, through `tf.distribute`."""

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import keras
import tensorflow as tf

from pa_keras.models import all_layers
from pa_keras.pipelines import WorkerShare
from pa_keras.training import cluster_resolvers

logger = logging.getLogger(__name__)

Name = Literal["none", "mirrored", "multi_worker", "tpu"]


def make_strategy(
    name: Name, cluster: cluster_resolvers.Cluster = "auto"
) -> tf.distribute.Strategy:
    """The strategy of that name; create "multi_worker" before any other call of TensorFlow.

    Args:
        name: "none": one device; "mirrored": the GPUs of this machine, or its logical CPUs if it
            has no GPU; "multi_worker": the devices of several processes; "tpu": a TPU.
        cluster: Where the other workers are listed, as in `cluster_resolvers.resolver`.

    Raises:
        ValueError: The other workers, or the TPU, cannot be found.

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
    """The kind of device that trains: a TPU, else a GPU if TensorFlow finds one, else the CPU.

    Example:
        >>> device_kind(make_strategy("none"))
        'CPU'
    """
    if isinstance(strategy, tf.distribute.TPUStrategy):
        return "TPU"
    return "GPU" if tf.config.list_physical_devices("GPU") else "CPU"


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes the run folder: the only one, the chief, or worker 0."""
    if not several_processes(strategy):
        return True
    found = strategy.cluster_resolver
    is_first = found.task_id == 0 and "chief" not in found.cluster_spec().jobs
    return found.task_type == "chief" or is_first


@contextmanager
def naming_lost_workers(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Turns TensorFlow's error about a lost worker into one that names the worker.

    Raises:
        ConnectionError: Another worker is lost.
    """
    try:
        yield
    except (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError) as error:
        if not several_processes(strategy):
            raise
        raise ConnectionError(
            f"The connection to {_lost(strategy, str(error))} is lost: it died, was stopped or "
            "cannot be reached. Its own log says why. This worker stops as well. Start all workers "
            "again with --resume: they continue from the last checkpoint."
        ) from error


def distributed(
    make: Callable[[WorkerShare], tf.data.Dataset], strategy: tf.distribute.Strategy
) -> tf.data.Dataset | tf.distribute.DistributedDataset:
    """Batches of which each replica gets a shard; each worker makes those of its own replicas.

    Args:
        make: Makes the shards of the batches that a `WorkerShare` selects; by default all.
        strategy: Strategy of the replicas; with one replica the batches are not divided.

    Example:
        >>> batches = distributed(lambda share: tf.data.Dataset.range(3), make_strategy("none"))
        >>> int(next(iter(batches)))
        0
    """
    if strategy.num_replicas_in_sync == 1:
        return make(WorkerShare())

    def of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        replicas = context.num_replicas_in_sync
        own = replicas // context.num_input_pipelines
        return make(WorkerShare(replicas, context.input_pipeline_id * own, own))

    return strategy.distribute_datasets_from_function(of_worker)


def share_batch_statistics(model: keras.Model) -> None:
    """Lets batch normalization that trains use the mean and variance of all replicas' shards.

    Args:
        model: Model created in the scope of its strategy; with one replica it is not changed.
    """
    if model.distribute_strategy.num_replicas_in_sync == 1:
        return
    for layer in all_layers(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True


def any_worker(flag: bool, strategy: tf.distribute.Strategy) -> bool:
    """Whether the flag is set on any worker; each worker waits here for all others.

    All workers have to call it at the same point of their training, to decide together.

    Args:
        flag: Flag of this worker.
        strategy: Strategy of the run; with one process, the result is the flag.

    Raises:
        tf.errors.UnavailableError: A worker is lost; `naming_lost_workers` explains the error.

    Example:
        >>> any_worker(True, make_strategy("none"))
        True
    """
    if not several_processes(strategy):
        return flag
    return _sum_over_workers(int(flag), strategy) > 0


def all_have(value: int, strategy: tf.distribute.Strategy) -> bool:
    """Whether the value is the same on all workers; each worker waits here for all others.

    Args:
        value: Value of this worker, such as the step that it resumes from.
        strategy: Strategy of the run; with one process, the result is True.

    Raises:
        tf.errors.UnavailableError: A worker is lost; `naming_lost_workers` explains the error.

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
        logger.warning("training.strategy=mirrored has only one device: %s.", devices[0])
    # Collectives between the CPUs of one process confuse the keys of several models.
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
    """The workers that TensorFlow cannot reach, from its message."""
    found = strategy.cluster_resolver
    tasks = set(re.findall(r"/job:(\w+)(?:/replica:\d+)?/task:(\d+)", message))
    tasks.discard((found.task_type, str(found.task_id)))
    return ", ".join(f"{kind} {number}" for kind, number in sorted(tasks)) or "another worker"
