"""The settings for large backbones in a run of `fit`: resumed bit for bit, saved and refused."""

import os
import signal

import keras
import numpy as np
import pytest

from pa_keras import fit
from pa_keras.training.callbacks.preemption import Stopping

pytestmark = pytest.mark.usefixtures("float32_policy")

SMALL = """
model: {backbone: conv4, weights: null, batch_norm: train, embedding_size: 8, freeze_blocks: 1}
data: {image_size: 16, crop_fraction: 1.0}
batches: {batch_size: 6}
optimizer: {learning_rate: 0.01, layer_decay: 0.5}
training: {epochs: 2, warmup_epochs: 1, weight_averaging: 0.9}
logging: {pictures: false}
"""


@pytest.fixture
def arguments(photos, tmp_path):
    config = tmp_path / "small.yaml"
    config.write_text(SMALL)
    return ["--config", str(config), "--dataset", "folder", "--data-dir", str(photos)]


def run(*arguments):
    fit.main(list(map(str, arguments)))


def failure(*arguments):
    with pytest.raises(SystemExit) as stopped:
        run(*arguments)
    return stopped.value.code


def stop_at(monkeypatch, epoch, step):
    done = []

    def watch(self, batch, logs=None, real=Stopping.on_train_batch_end):
        if (self.progress.epoch, self.progress.step) == (epoch, step) and not done:
            done.append(os.kill(os.getpid(), signal.SIGTERM))
        real(self, batch, logs)

    monkeypatch.setattr(Stopping, "on_train_batch_end", watch)


def recalls(folder):
    lines = (folder / "metrics.csv").read_text().splitlines()
    place = lines[0].split(",").index("recall_at_1")
    return [line.split(",")[place] for line in lines[1:]]


def state(folder):
    with np.load(sorted((folder / "state").glob("*.npz"))[-1]) as arrays:
        return {name: arrays[name] for name in arrays.files}


@pytest.mark.parametrize("recipe", ["default", pytest.param("reference", marks=pytest.mark.large)])
def test_a_stopped_run_resumes_bit_for_bit_with_all_of_them(
    arguments, tmp_path, monkeypatch, recipe
):
    arguments = [*arguments, f"--recipe={recipe}", "--training.selection=held_out"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    own = ["--model.batch_norm=train", "--optimizer.learning_rate=0.01", "--training.epochs=2"]
    own += ["--training.warmup_epochs=1"]
    run(*arguments, *own, "--run-dir", whole)
    # After the last step of the warm-up, whose end replaces the weights by their averages.
    with monkeypatch.context() as patch:
        stop_at(patch, 0, 3)
        assert failure(*arguments, *own, "--run-dir", parts) == 143
    with monkeypatch.context() as patch:
        stop_at(patch, 1, 2)
        assert failure("--run-dir", parts, "--resume") == 143
    run("--run-dir", parts, "--resume")
    assert recalls(parts) == recalls(whole)
    expected, found = state(whole), state(parts)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    best = [keras.saving.load_model(f / "best.keras", compile=False) for f in (whole, parts)]
    for a, b in zip(*(model.get_weights() for model in best), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_last_model_is_the_averaged_one_and_the_frozen_block_is_the_first(arguments, tmp_path):
    folder = tmp_path / "run"
    run(*arguments, "--training.selection=last", "--run-dir", folder)
    saved = keras.saving.load_model(folder / "best.keras", compile=False).get_weights()
    kept = state(folder)
    own = [kept[f"model/{place}"] for place in range(len(saved))]
    same = [np.array_equal(a, b) for a, b in zip(own, saved, strict=True)]
    # Frozen kernel and batch norm have no average, and neither have the other statistics.
    assert same[:5] == [True] * 5
    assert same[5:] == [False, False, False, True, True] * 3 + [False, False]
    averages = [value for name, value in kept.items() if name.startswith("optimizer/")]
    for place in (5, 6, 7):
        assert any(np.array_equal(saved[place], value) for value in averages)


def test_a_dry_run_says_what_trains(arguments, capsys):
    run(*arguments, "--dry-run")
    # Kernel 3 x 3 x 3 x 32 and the scale, offset and statistics of its batch norm.
    said = next(line for line in capsys.readouterr().out.splitlines() if "are frozen" in line)
    trained, total = (int(word.replace(",", "")) for word in (said.split()[1], said.split()[3]))
    statistics = 2 * (64 + 128 + 256)
    assert total - trained == 3 * 3 * 3 * 32 + 4 * 32 + statistics
    assert said.endswith("1 of the backbone's 4 blocks are frozen")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("--model.freeze_blocks=5", "freeze_blocks from 0 to 4"),
        ("--model.freeze_blocks=-1", "freeze_blocks from 0 to 4"),
        ("--optimizer.layer_decay=0", "layer_decay in (0, 1]"),
        ("--optimizer.layer_decay=1.1", "layer_decay in (0, 1]"),
        ("--training.weight_averaging=1", "weight_averaging in [0, 1)"),
    ],
)
def test_settings_out_of_range_leave_no_folder(arguments, tmp_path, setting, message):
    assert message in failure(*arguments, "--run-dir", tmp_path / "run", setting)
    assert not (tmp_path / "run").exists()
