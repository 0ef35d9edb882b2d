"""How a worker finds the others, and the errors if it does not."""

import json
import sys
import types

import pytest

from pa_keras.training import cluster_resolvers

VARIABLES = ("TF_CONFIG", "SLURM_STEP_NUM_TASKS", "KUBERNETES_SERVICE_HOST")
WORKERS = {"worker": ["one:1", "two:1"]}


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_no_cluster_says_what_to_set():
    with pytest.raises(ValueError, match="Set in each process") as raised:
        cluster_resolvers.resolver("auto")
    assert cluster_resolvers.EXAMPLE in str(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "{}", '{"cluster": {"worker": ["one:1"]}}',
        json.dumps({"cluster": WORKERS, "task": {"type": "worker", "index": 2}}),
        json.dumps({"cluster": WORKERS, "task": {"type": "worker", "index": -1}}),
        json.dumps({"cluster": WORKERS, "task": {"type": "worker", "index": "0"}}),
        json.dumps({"cluster": WORKERS, "task": {"type": "chief", "index": 0}}),
        json.dumps({"cluster": {"worker": ["one", "two"]}, "task": {"type": "worker", "index": 0}}),
        json.dumps({"cluster": {"worker": ["a:1", "a:1"]}, "task": {"type": "worker", "index": 0}}),
        json.dumps({"cluster": {**WORKERS, "ps": ["a:1"]}, "task": {"type": "worker", "index": 0}}),
    ],
)  # fmt: skip
def test_a_malformed_tf_config(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match="Expected TF_CONFIG") as raised:
        cluster_resolvers.resolver("auto")
    assert cluster_resolvers.EXAMPLE in str(raised.value)


def test_tf_config(monkeypatch):
    given = {"cluster": WORKERS, "task": {"type": "worker", "index": 1}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(given))
    found = cluster_resolvers.resolver("auto")
    assert found.cluster_spec().as_dict() == WORKERS
    assert (found.task_type, found.task_id) == ("worker", 1)


def test_slurm_without_gpus(monkeypatch):
    monkeypatch.setattr(cluster_resolvers.shutil, "which", lambda name: None)
    step = {"NUM_TASKS": "3", "NODELIST": "node[1-2]", "TASKS_PER_NODE": "2,1"}
    for name, value in step.items():
        monkeypatch.setenv(f"SLURM_STEP_{name}", value)
    monkeypatch.setenv("SLURM_PROCID", "2")
    found = cluster_resolvers.resolver("auto")
    assert found.cluster_spec().as_dict() == {"worker": ["node1:8888", "node1:8889", "node2:8888"]}
    assert (found.task_type, found.task_id) == ("worker", 2)
    assert not found.num_accelerators()


def test_slurm_without_a_step(monkeypatch):
    with pytest.raises(ValueError, match="Start the workers by srun"):
        cluster_resolvers.resolver("slurm")


def test_kubernetes_orders_the_pods_by_their_index(monkeypatch):
    job = {"JOB_NAME": "fit", "JOB_COMPLETIONS": "2", "JOB_COMPLETION_INDEX": "1"}
    for name, value in {**job, "KUBERNETES_SERVICE_HOST": "10.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    asked, phases = [], iter(["Pending", "Running", "Running", "Running", "Running"])

    def pods(label_selector):
        asked.append(label_selector)
        status = types.SimpleNamespace(
            phase=next(phases, "Running"), host_ip=f"10.0.1.{label_selector[-1]}"
        )
        pod = types.SimpleNamespace(metadata=types.SimpleNamespace(name="pod"), status=status)
        return types.SimpleNamespace(items=[pod])

    api = types.SimpleNamespace(list_pod_for_all_namespaces=pods)
    fake = types.SimpleNamespace(
        config=types.SimpleNamespace(load_incluster_config=lambda: None),
        client=types.SimpleNamespace(CoreV1Api=lambda: api),
    )
    monkeypatch.setitem(sys.modules, "kubernetes", fake)
    monkeypatch.setattr(cluster_resolvers.time, "sleep", lambda seconds: None)
    found = cluster_resolvers.resolver("auto")
    assert found.cluster_spec().as_dict() == {"worker": ["10.0.1.0:12345", "10.0.1.1:12345"]}
    assert (found.task_type, found.task_id) == ("worker", 1)
    assert "batch.kubernetes.io/job-name=fit" in asked[0]


def test_kubernetes_says_what_is_missing(monkeypatch):
    with pytest.raises(ValueError, match="JOB_COMPLETION_INDEX is not set"):
        cluster_resolvers.resolver("kubernetes")
    for name in ("JOB_NAME", "JOB_COMPLETIONS", "JOB_COMPLETION_INDEX"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    with pytest.raises(ImportError, match="pip install kubernetes"):
        cluster_resolvers.resolver("kubernetes")


def test_an_unknown_cluster():
    with pytest.raises(ValueError, match="received 'yarn'"):
        cluster_resolvers.resolver("yarn")
