"""Extending a finished run by `--resume --training.epochs`, compared with one longer run."""

import json

import keras
import numpy as np
import pytest
import yaml
from PIL import Image

from pa_keras import fit

pytestmark = pytest.mark.usefixtures("float32_policy")

SMALL = """
model: {backbone: conv4, weights: null, embedding_size: 8}
data: {image_size: 16, crop_fraction: 1.0}
batches: {batch_size: 6}
optimizer: {learning_rate: 0.001, decay: staircase, decay_epochs: 1}
training: {epochs: 3}
logging: {pictures: false}
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Images, settings, and the folder "long" of a run of three epochs."""
    root, rng = tmp_path_factory.mktemp("extended"), np.random.default_rng(0)
    for number in range(10):
        (root / "photos" / f"class {number}").mkdir(parents=True)
        for image in range(6):
            pixels = rng.integers(40, 215, 3) + rng.integers(-30, 30, (20, 24, 3))
            path = root / "photos" / f"class {number}" / f"{image}.png"
            Image.fromarray(pixels.astype("uint8")).save(path)
    (root / "small.yaml").write_text(SMALL)
    policy = keras.config.dtype_policy()
    start(root, root / "long")
    keras.config.set_dtype_policy(policy)
    return root


def start(root, folder, *more):
    data = ["--dataset=folder", f"--data-dir={root}/photos"]
    fit.main([f"--config={root}/small.yaml", *data, f"--run-dir={folder}", *more])


def failure(*arguments):
    with pytest.raises(SystemExit) as stopped:
        fit.main(list(arguments))
    return str(stopped.value.code)


def rows(folder):
    """The lines of metrics.csv without the columns of time."""
    lines = [line.split(",") for line in (folder / "metrics.csv").read_text().splitlines()]
    timed = {lines[0].index(name) for name in ("seconds", "images_per_second")}
    return [[cell for place, cell in enumerate(line) if place not in timed] for line in lines]


def assert_same(folder, expected):
    """Both runs have the same checkpoint, best model, metrics and result."""
    with (
        np.load(folder / "state" / "epoch-0004-step-000000.npz") as found,
        np.load(expected / "state" / "epoch-0004-step-000000.npz") as wanted,
    ):
        assert set(found.files) == set(wanted.files)
        for name in wanted.files:
            np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)
    models = [keras.saving.load_model(each / "best.keras") for each in (folder, expected)]
    for a, b in zip(models[0].get_weights(), models[1].get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert rows(folder) == rows(expected)
    results = [json.loads((each / "result.json").read_text()) for each in (folder, expected)]
    for result in results:
        del result["training_seconds"]
    assert results[0] == results[1]


def test_a_run_of_a_staircase_that_was_extended_equals_a_longer_run(root, tmp_path):
    # The first run is the warm-up alone, the second has passed the last drop of its staircase.
    folder = tmp_path / "run"
    start(root, folder, "--training.epochs=1")
    fit.main([f"--run-dir={folder}", "--resume", "--training.epochs=2"])
    assert yaml.safe_load((folder / "config.yaml").read_text())["training"]["epochs"] == 2
    fit.main([f"--run-dir={folder}", "--resume", "--training.epochs=3"])
    assert_same(folder, root / "long")


def test_fewer_epochs_are_refused_and_a_stopped_extension_resumes(root, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    start(root, folder, "--training.epochs=2")
    before = (folder / "config.yaml").read_bytes()
    message = failure(f"--run-dir={folder}", "--resume", "--training.epochs=1")
    assert "Expected training.epochs of 2 or more, as the run has 2; received 1" in message
    message = failure(f"--run-dir={folder}", "--resume", "--training.epochs=3", "--seed=4")
    assert "other values of seed. Leave them out" in message
    assert (folder / "config.yaml").read_bytes() == before
    assert (folder / "result.json").exists()

    def stop(*_):
        raise OSError("no more disk")

    with monkeypatch.context() as patch:
        patch.setattr("pa_keras.runs.train.fill_cache", stop)
        failure(f"--run-dir={folder}", "--resume", "--training.epochs=3")
    assert not (folder / "result.json").exists(), "the run is not complete"
    assert (folder / "best.keras").exists()
    fit.main([f"--run-dir={folder}", "--resume"])
    assert_same(folder, root / "long")
