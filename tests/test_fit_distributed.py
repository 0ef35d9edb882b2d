"""`fit` on several processes, and on several replicas of one, compared with one device."""

import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pa_keras import fit

pytestmark = [pytest.mark.large, pytest.mark.usefixtures("float32_policy")]

SMALL = """
model: {backbone: conv4, weights: null, embedding_size: 8}
data: {image_size: 16, crop_fraction: 1.0}
batches: {batch_size: 8}
optimizer: {learning_rate: 0.001, clip_value: 0.003}
training: {epochs: 3}
evaluation: {batch_size: 8}
logging: {pictures: false}
"""
ALL_FILES = {
    "best.keras", "config.yaml", "curves.png", "fit.log", "images.csv", "metrics.csv",
    "neighbours.png", "result.json", "skipped_images.txt", "state", "tensorboard", "versions.json",
}  # fmt: skip


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    """Ten classes of seven images that differ little, so that some searches fail."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for number in range(10):
        folder = root / "photos" / f"class {number}"
        folder.mkdir(parents=True)
        for image in range(7):
            pixels = rng.integers(120, 136, 3) + rng.integers(-30, 30, (20, 24, 3))
            Image.fromarray(pixels.astype("uint8")).save(folder / f"{image}.png")
    (root / "small.yaml").write_text(SMALL)
    return [f"--config={root}/small.yaml", "--dataset=folder", f"--data-dir={root}/photos"]


@pytest.fixture(scope="module")
def alone(arguments, tmp_path_factory):
    """The run of one process on one device."""
    folder = tmp_path_factory.mktemp("alone") / "run"
    fit.main([*arguments, f"--run-dir={folder}"])
    return folder


def start(workers, *arguments, own=None):
    """The processes of a run, each with its TF_CONFIG and its own extra argument."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(workers)]
    addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    processes = []
    for index in range(workers):
        cluster = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment = {"TF_CONFIG": json.dumps(cluster), "TF_CPP_MIN_LOG_LEVEL": "2"}
        command = [sys.executable, "-m", "pa_keras.fit", "--training.strategy=multi_worker"]
        processes.append(
            subprocess.Popen(
                [*command, *arguments, *(own[index : index + 1] if own else [])],
                env={**os.environ, **environment}, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )
        )  # fmt: skip
    return processes


def finish(processes, seconds=600):
    """Exit codes, outputs and errors; no process outlives the test."""
    try:
        ended = [process.communicate(timeout=seconds) for process in processes]
    finally:
        for process in processes:
            process.kill()
    codes = [process.returncode for process in processes]
    return codes, [out for out, _ in ended], [error for _, error in ended]


def rows(folder):
    """All rows; the empty cells of epoch 0, the network before training, are left out."""
    with (folder / "metrics.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    return [{name: float(value) for name, value in row.items() if value} for row in found]


def weights(folder):
    """Weights after the last epoch; the optimizer divides by moments that are almost zero."""
    with np.load(max((folder / "state").glob("epoch-*.npz"))) as file:
        return {name: file[name] for name in file.files if name.startswith("model/")}


def assert_same_run(folder, alone):
    assert {path.name for path in folder.iterdir()} == ALL_FILES, "of the chief alone"
    for row, expected in zip(rows(folder), rows(alone), strict=True):
        for name in set(expected) - {"seconds", "images_per_second"}:
            assert row[name] == pytest.approx(expected[name], rel=1e-4), name
    found, expected = weights(folder), weights(alone)
    assert set(found) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=1e-4, err_msg=name)
    results = [json.loads((each / "result.json").read_text()) for each in (folder, alone)]
    assert results[0]["metrics"] == pytest.approx(results[1]["metrics"])


def test_four_workers_equal_one(arguments, alone, tmp_path):
    codes, outputs, errors = finish(start(4, *arguments, f"--run-dir={tmp_path}/run"))
    assert codes == [0] * 4, errors
    assert "Recall@1" in outputs[0] and not any(outputs[1:])
    assert "Epoch 3" in errors[0] and "Epoch" not in errors[1]
    assert_same_run(tmp_path / "run", alone)
    logs = [len(list(each.rglob("*.tfevents.*"))) for each in (tmp_path / "run", alone)]
    assert logs[0] == logs[1]


def test_a_killed_worker_stops_the_others_and_a_restart_goes_on(arguments, alone, tmp_path):
    processes = start(2, *arguments, f"--run-dir={tmp_path}/run")
    checkpoint = tmp_path / "run" / "state" / "epoch-0002-step-000000.json"
    while not checkpoint.exists() and processes[0].poll() is None:
        time.sleep(0.05)
    # Compiling the second phase takes seconds, so that no further epoch has ended yet.
    processes[1].send_signal(signal.SIGKILL)
    killed = time.monotonic()
    codes, _, errors = finish(processes)
    assert time.monotonic() - killed < 60 and codes == [1, -9]
    last = errors[0].splitlines()[-1]
    assert last.startswith("error: The connection to worker 1 is lost: it died")
    assert "Start all workers again with --resume" in last
    assert [row["epoch"] for row in rows(tmp_path / "run")] == [0, 1]
    codes, _, errors = finish(start(2, f"--run-dir={tmp_path}/run", "--resume"))
    assert codes == [0, 0], errors
    assert "Resuming after epoch 1." in errors[0]
    assert_same_run(tmp_path / "run", alone)


def test_workers_that_see_other_states_do_not_go_on(alone, tmp_path):
    folders = [shutil.copytree(alone, tmp_path / name) for name in ("mine", "yours")]
    (folders[1] / "state" / "epoch-0004-step-000000.json").unlink()
    own = [f"--run-dir={folder}" for folder in folders]
    codes, _, errors = finish(start(2, "--resume", own=own))
    assert codes == [1, 1], errors
    for error, found in zip(errors, ("epoch 3", "epoch 2"), strict=True):
        assert f"to resume from the same checkpoint; this one found {found} in" in error


def test_steps_in_one_execution_are_not_for_several_processes(arguments, tmp_path):
    run = [f"--run-dir={tmp_path}/run", "--training.steps_per_execution=2"]
    codes, _, errors = finish(start(1, *arguments, *run))
    assert codes == [1] and "steps_per_execution=1 for training.strategy=multi_worker" in errors[0]
    assert not Path(tmp_path / "run").exists()
    # A run that one process began cannot resume like this either.
    fit.main([*arguments, *run, "--training.epochs=1"])
    codes, _, errors = finish(start(1, run[0], "--resume"))
    assert codes == [1] and "to resume, choose another strategy" in errors[0]


def run_on_two_cpus(*arguments):
    """Runs `fit` on two replicas of one process."""
    program = (
        "import sys, tensorflow as tf\n"
        "cpu = tf.config.list_physical_devices('CPU')[0]\n"
        "two = [tf.config.LogicalDeviceConfiguration()] * 2\n"
        "tf.config.set_logical_device_configuration(cpu, two)\n"
        "from pa_keras import fit\n"
        "fit.main(sys.argv[1:])\n"
    )
    command = [sys.executable, "-c", program, "--training.strategy=mirrored", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def on_two_cpus(*arguments):
    """The output of `fit` on two replicas of one process."""
    done = run_on_two_cpus(*arguments)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_replicas_of_one_process_equal_one(arguments, alone, tmp_path):
    on_two_cpus(*arguments, f"--run-dir={tmp_path}/run")
    assert_same_run(tmp_path / "run", alone)


def test_replicas_start_from_the_class_means_of_one_device(arguments, tmp_path):
    arguments = [*arguments, "--model.proxies_init=class_means", "--training.epochs=1"]
    fit.main([*arguments, f"--run-dir={tmp_path}/alone"])
    on_two_cpus(*arguments, f"--run-dir={tmp_path}/run")
    assert_same_run(tmp_path / "run", tmp_path / "alone")


@pytest.mark.parametrize("flag", ["--dry-run", "--resume", None])
def test_xla_is_refused_on_replicas_before_training(arguments, tmp_path, flag):
    run = f"--run-dir={tmp_path}/run"
    if flag == "--resume":  # a run that began on one device
        fit.main([*arguments, run, "--training.jit_compile=true", "--training.epochs=1"])
        arguments, before = [], (tmp_path / "run" / "fit.log").read_bytes()
    else:
        arguments = [*arguments, "--training.jit_compile=true"]
    done = run_on_two_cpus(*arguments, run, *([flag] if flag else []))
    assert done.returncode == 1
    assert "jit_compile to be auto or false for 2 replicas" in done.stderr.splitlines()[-1]
    if flag == "--resume":
        assert (tmp_path / "run" / "fit.log").read_bytes() == before
    else:
        assert not (tmp_path / "run").exists()


def test_a_cluster_of_one_worker_trains(arguments, alone, tmp_path):
    codes, _, errors = finish(start(1, *arguments, f"--run-dir={tmp_path}/run"))
    assert codes == [0], errors
    assert_same_run(tmp_path / "run", alone)


def test_a_dry_run_on_replicas(arguments):
    assert "\nbatch      (8, " in on_two_cpus(*arguments, "--dry-run")


def test_a_batch_that_the_workers_do_not_divide(arguments, tmp_path):
    run = [*arguments, f"--run-dir={tmp_path}/run", "--batches.batch_size=7"]
    codes, _, errors = finish(start(2, *run))
    assert codes == [1, 1]
    assert all("batches.batch_size=7. Take 6 or 8" in error for error in errors)
    assert not Path(tmp_path / "run").exists()
