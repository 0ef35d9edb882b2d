"""Losses under `tf.distribute`: several replicas step like one device on the global batch."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.large


def run(arguments, environments=({},)):
    """The output of each process of the script."""
    command = [sys.executable, str(Path(__file__).with_name("replicas_step.py"))]
    processes = [
        subprocess.Popen(
            [*command, *own], env={**os.environ, **environment}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for own, environment in zip(arguments, environments, strict=True)
    ]  # fmt: skip
    try:
        ended = [process.communicate(timeout=600) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, errors) in zip(processes, ended, strict=True):
        assert process.returncode == 0, errors[-2000:]
    return [json.loads(out.splitlines()[-1]) for out, _ in ended]


def assert_equal_one_device(found, replicas):
    assert found.pop("replicas") == replicas
    votes = found.pop("any_worker")
    assert len(found) == 16
    for name, differences in found.items():
        assert max(differences) < 1e-5, (name, differences)
    return votes


def free_ports(number):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def slurm(workers):
    """The variables of an srun step for TensorFlow's resolver, which counts ports from 8888."""
    step = {
        "SLURM_STEP_NUM_TASKS": f"{workers}",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_STEP_TASKS_PER_NODE": f"{workers}",
    }
    return [{**step, "SLURM_PROCID": f"{index}"} for index in range(workers)]


def tf_config(workers):
    addresses = [f"localhost:{port}" for port in free_ports(workers)]
    return [
        {
            "TF_CONFIG": json.dumps(
                {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            )
        }
        for index in range(workers)
    ]


@pytest.mark.parametrize("replicas", [2, 4])
def test_several_replicas_equal_one_device(replicas):
    (found,) = run([[str(replicas)]])
    assert assert_equal_one_device(found, replicas) == [False, False]


@pytest.mark.parametrize(("workers", "cluster"), [(2, slurm), (4, tf_config)])
def test_several_processes_equal_one_device(workers, cluster):
    arguments = [["multi_worker"]] * (workers - 1) + [["multi_worker", "last"]]
    for found in run(arguments, cluster(workers)):
        assert assert_equal_one_device(found, workers) == [True, False]


def test_the_bytes_of_a_step_are_those_of_the_formula():
    script = Path(__file__).parents[2] / "benchmarks" / "collectives.py"
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    counts = re.findall(r"^(\w+): counted (\d+) bytes, formula (\d+) bytes$", done.stdout, re.M)
    assert [name for name, *_ in counts] == ["proxy_anchor", "multi_similarity"]
    assert all(int(counted) == int(formula) > 0 for _, counted, formula in counts)
