"""Faults in a run of `fit`: what the message says, what is kept, and that the run resumes."""

import json
import logging
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pa_keras import fit
from pa_keras.runs import build, train
from pa_keras.runs.batches import make_batches
from pa_keras.runs.folder import RunFolder, existing_run_folder, expect_new_run, new_run_folder
from pa_keras.training.callbacks import save_checkpoint
from pa_keras.training.callbacks.preemption import Stopping
from pa_keras.training.callbacks.recall_at_k import RecallAtK
from pa_keras.training.checkpoint import newest_checkpoint

pytestmark = pytest.mark.usefixtures("float32_policy")

ROOT = Path(__file__).parents[1]
SMALL = """
model: {backbone: conv4, weights: null, batch_norm: train, embedding_size: 8}
data: {image_size: 16, crop_fraction: 1.0}
batches: {batch_size: 6}
optimizer: {learning_rate: 0.001}
training: {epochs: 2, warmup_epochs: 0}
logging: {pictures: false}
"""


@pytest.fixture
def arguments(photos, tmp_path):
    config = tmp_path / "small.yaml"
    config.write_text(SMALL)
    return ["--config", str(config), "--dataset", "folder", "--data-dir", str(photos)]


@pytest.fixture(scope="module")
def finished_once(tmp_path_factory):
    """The images and the folder of a run of one epoch, which no test may change."""
    root = tmp_path_factory.mktemp("finished")
    rng = np.random.default_rng(0)
    for path in [root / "photos" / f"class {n // 6}" / f"{n % 6}.png" for n in range(60)]:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (20, 24, 3), dtype=np.uint8)).save(path)
    (root / "small.yaml").write_text(SMALL)
    policy = keras.config.dtype_policy()
    run("--config", root / "small.yaml", "--dataset=folder", "--data-dir", root / "photos",
        "--run-dir", root / "run", "--training.epochs=1")  # fmt: skip
    keras.config.set_dtype_policy(policy)
    return root


@pytest.fixture
def finished(finished_once, tmp_path):
    """The images, and a copy of the run folder."""
    shutil.copytree(finished_once / "run", tmp_path / "run")
    return finished_once / "photos", tmp_path / "run"


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO)
    return caplog


def run(*arguments):
    fit.main(list(map(str, arguments)))


def failure(*arguments):
    """The message or exit code that a command ends with."""
    with pytest.raises(SystemExit) as stopped:
        run(*arguments)
    return stopped.value.code


def epochs(folder):
    """The epochs in metrics.csv, as they are written."""
    return [line.split(",")[0] for line in (folder / "metrics.csv").read_text().splitlines()[1:]]


def at_step(monkeypatch, epoch, step, act):
    """Calls a function once, after a step of a run."""
    done = []

    def watch(self, batch, logs=None, real=Stopping.on_train_batch_end):
        if (self.progress.epoch, self.progress.step) == (epoch, step) and not done:
            done.append(act())
        real(self, batch, logs)

    monkeypatch.setattr(Stopping, "on_train_batch_end", watch)


def terminate(number=signal.SIGTERM):
    os.kill(os.getpid(), number)


def test_a_run_with_loss_scaling_resumes(arguments, tmp_path, monkeypatch, log):
    """An optimizer with loss scaling creates variables each time that it is built."""
    folder, half = tmp_path / "run", "--training.precision=mixed_float16"
    with monkeypatch.context() as patch:
        at_step(patch, 1, 2, terminate)
        assert failure(*arguments, half, "--run-dir", folder) == 143
    run("--run-dir", folder, "--resume")
    assert "Resuming after epoch 2, step 2." in log.text and (folder / "result.json").exists()


def test_a_signal_saves_the_steps_of_the_epoch(arguments, tmp_path, monkeypatch, log):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        at_step(patch, 1, 2, terminate)
        assert failure(*arguments, "--run-dir", folder) == 143
    kept = folder / "state" / "epoch-0002-step-000002.npz"
    assert log.messages[-1] == (
        f"Stopped by SIGTERM. The checkpoint of epoch 2, step 2 is kept in {kept}. "
        f"Resume with: python -m pa_keras.fit --run-dir {folder} --resume"
    )
    assert not (folder / "result.json").exists()
    run("--run-dir", folder, "--resume", "--max-hours=9")
    assert "Resuming after epoch 2, step 2." in log.messages
    assert (folder / "result.json").exists()
    assert epochs(folder) == ["0", "1", "2"]


@pytest.mark.large
def test_a_signal_in_the_evaluation(arguments, tmp_path, monkeypatch, log):
    folder, measured = tmp_path / "run", []

    def slow(self, embedder, real=RecallAtK._measure):
        measured.append(True)
        if len(measured) == 2:  # after epoch 1; the first was before training
            terminate()
        return real(self, embedder)

    monkeypatch.setattr(RecallAtK, "_measure", slow)
    assert failure(*arguments, "--run-dir", folder) == 143
    assert "The checkpoint of epoch 1, step 3 is kept" in log.messages[-1]
    assert epochs(folder) == ["0"]
    run("--run-dir", folder, "--resume")
    assert epochs(folder) == ["0", "1", "2"]


def test_a_signal_before_the_first_step(arguments, tmp_path, monkeypatch, log):
    def slow(*parts, **options):
        terminate()

    monkeypatch.setattr(build, "load_run_data", slow)
    assert failure(*arguments, "--run-dir", tmp_path / "run") == 143
    assert log.messages[-1] == (
        "Stopped by SIGTERM. Nothing was trained in this process, and nothing is lost."
    )
    assert not (tmp_path / "run").exists()


def test_a_signal_while_the_first_batches_are_made(arguments, tmp_path, monkeypatch, log):
    folder, real = tmp_path / "run", make_batches

    def slow(*parts):
        if parts[2] != "none":  # not in the checks before
            terminate()
        return real(*parts)

    with monkeypatch.context() as patch:
        patch.setattr(build, "make_batches", slow)
        assert failure(*arguments, "--run-dir", folder) == 143
    assert log.messages[-1].startswith(
        "Stopped by SIGTERM. No checkpoint was saved yet. Resume with"
    )
    run("--run-dir", folder, "--resume")
    assert (folder / "result.json").exists()


def test_a_dry_run_does_not_resume(finished, capsys):
    _, folder = finished
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert failure("--run-dir", folder, "--resume", "--dry-run") == 2
    assert "Give one of them" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


@pytest.mark.large
def test_the_hours_are_over(arguments, tmp_path, monkeypatch, log):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        at_step(patch, 0, 2, lambda: terminate(signal.SIGALRM))
        assert failure(*arguments, "--run-dir", folder, "--max-hours=8") == 0
    assert "Unfinished after 8 hours. The checkpoint of epoch 1, step 2" in log.messages[-1]
    assert "--resume" in log.messages[-1] and not (folder / "result.json").exists()


def test_an_image_that_goes_bad(arguments, photos, tmp_path, monkeypatch, log):
    folder = tmp_path / "run"

    def spoil():
        for path in photos.rglob("*.png"):
            path.write_bytes(b"\x89PNG\r\n\x1a\n broken")

    with monkeypatch.context() as patch:
        at_step(patch, 0, 1, spoil)
        message = failure(*arguments, "--run-dir", folder, "--training.epochs=40")
    assert "Image files became unreadable after the run began, 60 in all:" in message
    assert "class 0/0.png: " in message and "--resume" in message
    # The batches that were read ahead are still trained on, and then saved.
    last = newest_checkpoint(folder / "state")
    assert f"The checkpoint of {last} is kept in" in message
    assert "class 0/0.png" in failure("--run-dir", folder, "--resume")


def test_images_that_changed_between_two_runs(finished, monkeypatch, log):
    photos, folder = finished
    image, other = photos / "class 1" / "0.png", photos / "class 2" / "0.png"
    before = image.read_bytes()
    image.write_bytes(other.read_bytes())
    try:
        message = failure("--run-dir", folder, "--resume")
        assert "1 with other contents (class 1/0.png)" in message and "images.csv" in message
        (folder / "images.csv").unlink()
        monkeypatch.setattr(train, "train", lambda *parts, **more: None)
        run("--run-dir", folder, "--resume")
    finally:
        image.write_bytes(before)
    assert "images.csv is missing: the run continues with the images as they are now" in log.text
    assert (folder / "images.csv").exists()


@pytest.mark.large
def test_a_checkpoint_that_cannot_be_read(arguments, tmp_path, log, monkeypatch):
    """The one before it is used; rows and best models of later epochs are removed."""
    folder = tmp_path / "run"
    monkeypatch.setattr(save_checkpoint.SaveCheckpoint, "_can_afford_it", lambda self: True)
    scores = iter([0.05, 0.1, 0.9, 0.2, 0.2])  # of epochs 0 to 2, then of the repeated epoch 2
    monkeypatch.setattr(RecallAtK, "_measure", lambda self, _: {"recall_at_1": next(scores)})
    run(*arguments, "--run-dir", folder, "--evaluation.ks=[1]")
    kept = folder / "state"
    first, second = sorted(kept.glob("best-*.keras"))
    assert (folder / "best.keras").read_bytes() == second.read_bytes()
    (kept / "epoch-0003-step-000000.npz").write_bytes(b"half")
    seen = []

    def look(*parts, **more):
        seen.append((folder / "best.keras").read_bytes())
        seen.append((folder / "metrics.csv").read_text().count("\n"))
        raise OSError("looked at")

    with monkeypatch.context() as patch:
        patch.setattr(train, "train", look)
        assert failure("--run-dir", folder, "--resume") == "error: looked at"
    assert seen == [first.read_bytes(), 3]  # lines: the header, epoch 0 and epoch 1
    run("--run-dir", folder, "--resume")
    assert "epoch-0003-step-000000.npz is wrong" in log.text
    assert json.loads((folder / "result.json").read_text())["epoch"] == 2


def test_a_full_disk(arguments, tmp_path, monkeypatch, log):
    folder = tmp_path / "run"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    monkeypatch.setattr(save_checkpoint.SaveCheckpoint, "_can_afford_it", lambda self: True)

    def fill():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))

    with monkeypatch.context() as patch:
        at_step(patch, 1, 3, fill)
        try:
            message = failure(*arguments, "--run-dir", folder)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "error: Expected to write" in message and "continue with --resume" in message
    assert newest_checkpoint(folder / "state").epoch == 1


def test_two_processes_resume_one_run(finished):
    _, folder = finished
    with RunFolder(folder).locked():
        message = failure("--run-dir", folder, "--resume")
    assert f"process {os.getpid()} on " in message and "Wait until it has ended" in message


@pytest.mark.parametrize("last", ["state", "images.csv", "versions.json"])
def test_killed_while_the_run_folder_was_made(tmp_path, last):
    made = new_run_folder(str(tmp_path / "run"), "folder", room=0)
    with made.locked():
        for name in ("images.csv", "versions.json", "partial-config.yaml"):
            if last in ("images.csv", "versions.json"):
                (made.path / name).write_text("what was written until then")
            if last == name:
                break
    with pytest.raises(FileNotFoundError, match="stopped before it began.*without --resume"):
        existing_run_folder(str(made.path))
    expect_new_run(str(made.path))
    (made.state / "epoch-0001-step-000002.npz").touch()
    with pytest.raises(FileExistsError, match="nothing is overwritten"):
        expect_new_run(str(made.path))


@pytest.mark.parametrize("setting", ["save_minutes=0", "max_hours=-1"])
def test_times_out_of_range_leave_no_folder(arguments, tmp_path, setting):
    message = failure(*arguments, "--run-dir", tmp_path / "run", f"--training.{setting}")
    assert f"Expected {setting.partition('=')[0]} above 0" in message
    assert not (tmp_path / "run").exists()


def test_a_finished_run_without_its_checkpoints_is_not_changed(finished):
    _, folder = finished
    shutil.rmtree(folder / "state")
    before = (folder / "best.keras").read_bytes(), (folder / "metrics.csv").read_bytes()
    assert "nothing to resume" in failure("--run-dir", folder, "--resume")
    assert ((folder / "best.keras").read_bytes(), (folder / "metrics.csv").read_bytes()) == before


def test_keras_cv_and_deterministic(arguments, tmp_path, monkeypatch):
    # It would change the other tests in this process.
    monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: None)
    message = failure(
        *arguments, "--run-dir", tmp_path / "run", "--deterministic",
        "--augmentation.extra=keras_cv.RandomCutout",
    )  # fmt: skip
    assert "received keras_cv.RandomCutout" in message and not (tmp_path / "run").exists()


def test_what_saving_took_is_logged(finished):
    log = (finished[1] / "fit.log").read_text()
    assert re.search(r"Saved epoch 1 in .* s\.", log)
    assert re.search(r"Saving took .* s of .* s\.", log)


@pytest.mark.large  # separate processes, since deterministic operations cannot be switched off
def test_killed_at_random_moments():
    script = ROOT / "benchmarks" / "kill_and_resume.py"
    command = [sys.executable, script, "--kills", "1", "--times", "2"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.endswith("1 of 1 the same to the bit\n"), done.stdout + done.stderr
