"""Checkpoints: complete, verified when read, and replaced by the one before if damaged."""

import json
import logging
import resource
import shutil

import keras
import numpy as np
import pytest

from pa_keras.files import save_whole
from pa_keras.training import checkpoint

X, Y = np.random.default_rng(0).normal(size=(8, 3)), np.zeros((8, 2))


def tiny_model(scaled=False):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3,))
    dropped = keras.layers.Dropout(0.5, seed=1)(keras.layers.Dense(6)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2)(dropped))
    optimizer = keras.optimizers.Adam(0.01)
    if scaled:
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, dynamic_growth_steps=3)
    model.compile(optimizer, "mse", jit_compile=False)
    return model


def train(model, epochs=1):
    model.fit(X, Y, batch_size=2, shuffle=False, epochs=epochs, verbose=0)


def written(folder, model, *positions, best=None):
    states = [
        checkpoint.write_checkpoint(model, folder, epoch, step, 1.5, best)
        for epoch, step in positions
    ]
    checkpoint.keep_only(folder, states)
    return states


def values(model):
    everything = [*model.variables, *model.optimizer.variables]
    return [variable.numpy() for variable in everything]


@pytest.mark.parametrize("scaled", [False, True])
def test_everything_comes_back_to_the_bit(tmp_path, scaled):
    model = tiny_model(scaled)
    train(model)
    (saved,) = written(tmp_path, model, (2, 3))
    again = tiny_model(scaled)
    found = checkpoint.newest_checkpoint(tmp_path)
    assert found == saved and (found.epoch, found.step, found.seconds) == (2, 3, 1.5)
    checkpoint.set_metrics(again, checkpoint.restore_checkpoint(again, tmp_path, found))
    expected = values(model)
    assert any("seed_generator" in variable.path for variable in model.variables)
    np.testing.assert_equal(values(again), expected)
    train(model, 2)
    train(again, 2)
    np.testing.assert_equal(values(again), values(model))


def test_the_newest_is_by_epoch_and_step_not_by_letters(tmp_path):
    written(tmp_path, tiny_model(), (9998, 2), (9999, 0), (9999, 1_000_000))
    assert checkpoint.newest_checkpoint(tmp_path).step == 1_000_000


def test_only_files_of_the_kept_checkpoints_stay(tmp_path):
    model = tiny_model()
    best = tmp_path / "best-epoch-0001.keras"
    best.write_bytes(b"a model")
    (tmp_path / "lock").touch()
    (tmp_path / "notes.txt").touch()  # not a file of a checkpoint, so it stays
    (tmp_path / "mine").mkdir()
    (tmp_path / "partial-epoch-0001-step-000007.npz").write_bytes(b"half")
    checkpoints = [
        checkpoint.write_checkpoint(model, tmp_path, 0, step, 0.0, best) for step in (1, 2, 3)
    ]
    checkpoint.keep_only(tmp_path, checkpoints[1:])
    assert {path.name for path in tmp_path.iterdir()} == {
        "best-epoch-0001.keras", "lock", "notes.txt", "mine", "epoch-0001-step-000002.json",
        "epoch-0001-step-000003.json", "epoch-0001-step-000002.npz", "epoch-0001-step-000003.npz",
    }  # fmt: skip


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def change_epoch(path):
    path.write_text(path.read_text().replace('"epoch": 1', '"epoch": 0'))


@pytest.mark.parametrize(
    ("ending", "spoil", "reason"),
    [
        (".npz", lambda path: path.write_bytes(path.read_bytes()[:-100]), "checksum of epoch"),
        (".npz", flip, "checksum of epoch-0002-step-000004.npz is wrong"),
        (".npz", lambda path: path.unlink(), "epoch-0002-step-000004.npz is missing"),
        (".json", lambda path: path.write_text(path.read_text()[:-9]), "Unterminated string"),
        (".json", change_epoch, "its checksum is wrong"),
        (".json", lambda path: path.write_text("[]"), "indices must be integers"),
        (".json", lambda path: path.write_bytes(b"\xff\xfe"), "can't decode"),
    ],
)  # fmt: skip
def test_one_that_cannot_be_read_is_named_and_the_one_before_used(
    tmp_path, caplog, ending, spoil, reason
):
    written(tmp_path, tiny_model(), (1, 2), (1, 4))
    spoil(tmp_path / f"epoch-0002-step-000004{ending}")
    with caplog.at_level(logging.WARNING):
        assert checkpoint.newest_checkpoint(tmp_path).step == 2
    (record,) = caplog.records
    assert "epoch-0002-step-000004.json" in record.message
    assert "the one before it is used" in record.message
    assert reason in record.message


def test_none_can_be_read(tmp_path):
    written(tmp_path, tiny_model(), (1, 2), (1, 4))
    for path in tmp_path.glob("*.npz"):
        flip(path)
    with pytest.raises(ValueError, match="(?s)none of 2 can be read.*000004.*000002.*new run"):
        checkpoint.newest_checkpoint(tmp_path)


def test_one_of_an_earlier_version_is_not_passed_over(tmp_path):
    (tmp_path / "state.json").write_text(json.dumps({"epoch": 3, "weights": "a", "seeds": []}))
    with pytest.raises(ValueError, match="none of 1 can be read"):
        checkpoint.newest_checkpoint(tmp_path)


def test_no_checkpoint_yet(tmp_path):
    (tmp_path / "epoch-0001-step-000002.npz").write_bytes(b"killed before its json")
    assert checkpoint.newest_checkpoint(tmp_path) is None


def test_the_best_model_is_that_of_the_checkpoint(tmp_path):
    folder, path = tmp_path / "state", tmp_path / "best.keras"
    folder.mkdir()
    (folder / "best-epoch-0001.keras").write_bytes(b"of epoch 1")
    (saved,) = written(folder, tiny_model(), (1, 0), best=folder / "best-epoch-0001.keras")
    path.write_bytes(b"of epoch 2, which is trained again")
    checkpoint.restore_best(folder, saved, path)
    assert path.read_bytes() == b"of epoch 1"
    checkpoint.restore_best(folder, None, path)
    assert not path.exists()
    flip(folder / "best-epoch-0001.keras")
    with pytest.raises(ValueError, match=r"best-epoch-0001\.keras is wrong"):
        checkpoint.newest_checkpoint(folder)


def test_a_model_of_other_variables(tmp_path):
    (saved,) = written(tmp_path, tiny_model(), (1, 0))
    inputs = keras.Input((3,))
    other = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    other.compile("adam", "mse", jit_compile=False)
    with pytest.raises(ValueError, match="other variables.*as many classes"):
        checkpoint.restore_checkpoint(other, tmp_path, saved)


@pytest.mark.parametrize("of_limit", [0.0, 0.5, 0.9])
def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, of_limit):
    """The kernel limits the size of files: a write really fails, at several places of the file."""
    model = tiny_model()
    written(tmp_path, model, (1, 0))
    size = (tmp_path / "epoch-0002-step-000000.npz").stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(of_limit * size), before[1]))
    try:
        with pytest.raises(OSError, match=r"to write .*step-000005.*continue with --resume"):
            checkpoint.write_checkpoint(model, tmp_path, 1, 5, 0.0, None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert checkpoint.newest_checkpoint(tmp_path).step == 0
    assert not list(tmp_path.glob("partial-*"))


@pytest.mark.parametrize("error", [OSError(28, "No space left"), RuntimeError("No space left")])
def test_a_failed_write_leaves_the_file_before(tmp_path, error):
    def fail(path):
        shutil.copyfile(tmp_path / "a", path)
        raise error

    (tmp_path / "a").write_text("whole")
    with pytest.raises(OSError, match=r"No space left.*is kept.*--resume"):
        save_whole(fail, tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "whole"
