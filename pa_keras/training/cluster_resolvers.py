"""Finding the workers of a distributed run, and the index of this one."""

import json
import os
import re
import shutil
import time
from typing import Literal, TypeAlias

import tensorflow as tf

Cluster = Literal["auto", "tf_config", "slurm", "kubernetes"]
Resolver: TypeAlias = tf.distribute.cluster_resolver.ClusterResolver

EXAMPLE = (
    """TF_CONFIG='{"cluster": {"worker": ["host0:12345", "host1:12345"]}, """
    """"task": {"type": "worker", "index": 0}}'"""
)

_POD_PORT = 12345
_POD_LABELS = "batch.kubernetes.io/job-name={},batch.kubernetes.io/job-completion-index={}"


def resolver(cluster: Cluster) -> Resolver:
    """TensorFlow's resolver for the cluster of this worker.

    Args:
        cluster: Where the workers are listed: "tf_config", in the variable TF_CONFIG; "slurm", in a
            step of srun; "kubernetes", in an Indexed Job; "auto", in the first of these that the
            environment has.

    Raises:
        ValueError: The environment does not list the workers, or not as expected.
        TimeoutError: Pods do not start.
    """
    match _found() if cluster == "auto" else cluster:
        case "tf_config":
            return _from_tf_config()
        case "slurm":
            return _from_slurm()
        case "kubernetes":
            return _from_kubernetes()
    raise ValueError(
        "Expected training.cluster to be auto, tf_config, slurm or kubernetes; received "
        f"{cluster!r}."
    )


def _found() -> Cluster:
    variables: dict[str, Cluster] = {
        "TF_CONFIG": "tf_config",
        "SLURM_STEP_NUM_TASKS": "slurm",
        "KUBERNETES_SERVICE_HOST": "kubernetes",
    }
    for variable, cluster in variables.items():
        if variable in os.environ:
            return cluster
    raise ValueError(
        "Expected the other workers to be named for training.strategy=multi_worker; received none "
        "of TF_CONFIG, a step of Slurm, or a pod of Kubernetes. Set in each process, with its own "
        f"index, {EXAMPLE}"
    )


def _from_tf_config() -> Resolver:
    text = os.environ.get("TF_CONFIG", "")
    try:
        given = json.loads(text)
        jobs, index = given["cluster"], given["task"]["index"]
        addresses = [address for job in jobs.values() for address in job]
        fits = (
            set(jobs) <= {"chief", "worker"}
            and index in range(len(jobs[given["task"]["type"]]))
            and all(re.fullmatch(r".+:\d+", address) for address in addresses)
            and len(set(addresses)) == len(addresses)
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"Expected TF_CONFIG as JSON with every worker and this one's index; received {text!r} "
            f"({type(error).__name__}: {error}). Set {EXAMPLE}"
        ) from error
    if not fits:
        raise ValueError(
            "Expected TF_CONFIG with only the jobs chief and worker, each host:port once, and an "
            f"index among them; received {text!r}. Set {EXAMPLE}"
        )
    return tf.distribute.cluster_resolver.TFConfigClusterResolver()


def _from_slurm() -> Resolver:
    try:
        if shutil.which("nvidia-smi"):
            return tf.distribute.cluster_resolver.SlurmClusterResolver()
        # The resolver requires GPUs: pretend that each task has one, then leave them out.
        gpus = int(os.environ["SLURM_STEP_NUM_TASKS"])
        found = tf.distribute.cluster_resolver.SlurmClusterResolver(
            gpus_per_node=gpus, gpus_per_task=1, auto_set_gpu=False
        )
        spec = found.cluster_spec()
    except (RuntimeError, KeyError, ValueError) as error:
        raise ValueError(
            f"Expected the variables of a step of Slurm; {error}. Start the workers by srun."
        ) from error
    return tf.distribute.cluster_resolver.SimpleClusterResolver(
        spec, task_type=found.task_type, task_id=found.task_id
    )


def _from_kubernetes() -> Resolver:
    names = ("JOB_NAME", "JOB_COMPLETIONS", "JOB_COMPLETION_INDEX")
    missing = [name for name in names if not os.environ.get(name)]
    if missing:
        raise ValueError(
            f"Expected a pod of an Indexed Job; {', '.join(missing)} is not set. See "
            "docs/distributed.md, or set TF_CONFIG."
        )
    try:
        from kubernetes import client, config
    except ImportError as error:
        raise ImportError(
            "Expected the package kubernetes for training.cluster=kubernetes; install it: pip "
            "install kubernetes, or set TF_CONFIG."
        ) from error
    config.load_incluster_config()
    job, workers, index = (os.environ[name] for name in names)
    # One selector for each worker keeps them in the order of their indices.
    found = tf.distribute.cluster_resolver.KubernetesClusterResolver(
        {"worker": [_POD_LABELS.format(job, number) for number in range(int(workers))]},
        tf_server_port=_POD_PORT,
        override_client=client.CoreV1Api(),  # its default works only outside
    )
    found.task_type, found.task_id = "worker", int(index)
    _wait_for_pods(found, int(workers))
    return found


def _wait_for_pods(found: Resolver, workers: int, seconds: float = 600.0) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            running = found.cluster_spec().num_tasks("worker")
        except RuntimeError:  # some pod is not running yet
            running = 0
        if running == workers:
            return
        if time.monotonic() > end:
            raise TimeoutError(
                f"Expected {workers} running pods within {seconds:.0f} s; received {running}. Find "
                "out why they do not start: kubectl describe job."
            )
        time.sleep(2)
