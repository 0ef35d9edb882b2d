"""Epoch 0 of a run: the network before training, in metrics.csv, result.json and the last line."""

import csv
import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pa_keras import cli, fit, plots
from pa_keras.config import FitConfig
from pa_keras.evaluation.evaluate import embed_dataset_images
from pa_keras.runs import finish
from pa_keras.runs.before_training import gain, measure_before_training
from pa_keras.runs.build import build
from pa_keras.runs.folder import RunFolder
from pa_keras.runs.loss import resolved
from pa_keras.training import RecallAtK

pytestmark = pytest.mark.usefixtures("float32_policy")

SMALL = """
dataset: folder
model: {backbone: conv4, weights: null, batch_norm: train, embedding_size: 8}
data: {image_size: 16, crop_fraction: 1.0}
batches: {batch_size: 6}
optimizer: {learning_rate: 0.001}
training: {epochs: 1, warmup_epochs: 0}
evaluation: {ks: [1, 3], map_at_r: true}
logging: {pictures: false}
"""


@pytest.fixture
def config(tmp_path):
    """Ten classes of images that differ little, so that some searches fail."""
    rng = np.random.default_rng(0)
    for number in range(10):
        folder = tmp_path / "photos" / f"class {number}"
        folder.mkdir(parents=True)
        for image in range(6):
            pixels = rng.integers(100, 156, 3) + rng.integers(-60, 60, (20, 24, 3))
            Image.fromarray(pixels.astype("uint8")).save(folder / f"{image}.png")
    file = tmp_path / "small.yaml"
    file.write_text(f"{SMALL}data_dir: {tmp_path}/photos\n")
    return file


@pytest.fixture
def measured(monkeypatch):
    """Lists the values of each measurement, in order."""
    found = []

    def watch(self, embedder, real=RecallAtK._measure):
        found.append(real(self, embedder))
        return found[-1]

    monkeypatch.setattr(RecallAtK, "_measure", watch)
    return found


def run(*arguments):
    fit.main(list(map(str, arguments)))


def rows(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def result(folder):
    return json.loads((folder / "result.json").read_text())


def built(config, selection="held_out", before_training=True):
    """The parts of a run before its first step."""
    settings = resolved(cli.config_from(FitConfig, [str(config)], {}))
    training = dataclasses.replace(settings.training, selection=selection)
    evaluation = dataclasses.replace(settings.evaluation, before_training=before_training)
    settings = dataclasses.replace(settings, training=training, evaluation=evaluation)
    return build(settings, tf.distribute.get_strategy())


def untrained_recall(made):
    """Recall@1 of the initial weights on the selection or test images, by a double loop."""
    images = (made.data.selection or made.data.dataset).queries
    vectors = embed_dataset_images(made.embedder, images, crop_fraction=1.0)
    hits = []
    for i, query in enumerate(vectors):
        others = [(float(query @ other), -j) for j, other in enumerate(vectors) if j != i]
        hits.append(images.labels[-max(others)[1]] == images.labels[i])
    return float(np.mean(hits))


def test_epoch_0_is_the_initial_network(config, tmp_path, capsys, monkeypatch, measured):
    drawn = []
    monkeypatch.setattr(finish.plots, "curves", lambda rows, path: drawn.extend(rows))
    folder = tmp_path / "run"
    run("--config", config, "--run-dir", folder)
    untrained, trained = rows(folder)
    assert (untrained["epoch"], trained["epoch"]) == ("0", "1") and len(measured) == 2
    assert (untrained["loss"], untrained["images_per_second"]) == ("", "")
    assert float(untrained["seconds"]) == 0
    expected = untrained_recall(built(config))
    assert float(untrained["recall_at_1"]) == pytest.approx(expected)
    assert result(folder)["epoch"] == 1, "whatever epoch 0 has"
    names = ["recall_at_1", "recall_at_3", "map_at_r"]
    gained = {
        "classes": "held-out",
        "before_training": {name: float(untrained[name]) for name in names},
        "after_training": {name: float(trained[name]) for name in names},
    }
    assert result(folder)["gain"] == gained
    assert f" {gain_of(gained)} Next: " in capsys.readouterr().out
    assert [row["epoch"] for row in drawn] == [0, 1] and "recall_at_1" in drawn[0]
    # A resumed run keeps the row, and measures nothing again.
    run("--run-dir", folder, "--resume")
    assert rows(folder) == [untrained, trained] and result(folder)["gain"] == gained
    assert len(measured) == 2
    # In a run of a version that did not measure it, the weights are no longer the initial ones.
    lines = (folder / "metrics.csv").read_text().splitlines(keepends=True)
    (folder / "metrics.csv").write_text("".join([lines[0], *lines[2:]]))
    run("--run-dir", folder, "--resume")
    assert len(measured) == 2 and "gain" not in result(folder)
    assert "unseen classes. Next: " in capsys.readouterr().out.splitlines()[-1]


def gain_of(part):
    before, after = (
        100 * part[key]["recall_at_1"] for key in ("before_training", "after_training")
    )
    on = f"Recall@1 on the {part['classes']} classes"
    if f"{before:.1f}" == f"{after:.1f}":
        return f"Training left {on} at {after:.1f}."
    verb = "raised" if after > before else "lowered"
    return f"Training {verb} {on} from {before:.1f} to {after:.1f}."


def test_the_last_epoch_is_compared_on_the_test_classes(config, tmp_path, capsys, measured):
    folder = tmp_path / "run"
    run("--config", config, "--run-dir", folder, "--training.selection=last")
    untrained, trained = rows(folder)
    assert len(measured) == 1 and trained["recall_at_1"] == "" and trained["loss"] != ""
    expected = untrained_recall(built(config, "last"))
    found = result(folder)
    assert float(untrained["recall_at_1"]) == pytest.approx(expected)
    assert found["gain"]["classes"] == "test"
    assert found["gain"]["before_training"]["recall_at_1"] == pytest.approx(expected)
    after = found["gain"]["after_training"]
    assert len(after) == 3 and after == {name: found["metrics"][name] for name in after}
    assert f" {gain_of(found['gain'])} Next: " in capsys.readouterr().out


def test_what_is_measured_before_training(config):
    made = built(config)
    assert made.before_training is made.recall, "with the pixels that it keeps in memory"
    made = built(config, "reference_protocol")
    assert made.before_training is made.recall
    np.testing.assert_array_equal(
        made.before_training.queries.labels, made.data.dataset.queries.labels
    )
    for selection in ("held_out", "last"):
        assert built(config, selection, before_training=False).before_training is None


class Unmeasured:
    """Stands in for RecallAtK: stopped at the first measurement, and counts the others."""

    count = 0

    def measure_before_training(self):
        self.count += 1
        if self.count == 1:
            raise KeyboardInterrupt
        return {"recall_at_1": 0.25}


def test_a_run_stopped_before_its_first_step(tmp_path):
    recall, folder = Unmeasured(), RunFolder(tmp_path)
    run = SimpleNamespace(
        before_training=recall, writes=True, strategy=tf.distribute.get_strategy()
    )
    with pytest.raises(KeyboardInterrupt):
        measure_before_training(run, folder, None)
    assert folder.read_before_training() is None
    for _ in range(2):  # resumed twice before a step was saved
        folder.drop_metrics_after(0)
        measure_before_training(run, folder, None)
        assert folder.read_before_training() == {"epoch": 0, "seconds": 0, "recall_at_1": 0.25}
        assert folder.read_metrics() == [], "it is no epoch to select, or to repeat"
    assert recall.count == 2
    # A row that was cut off is measured again; with a checkpoint, the network is a trained one.
    folder.metrics.write_text(folder.metrics.read_text()[:-3])
    folder.drop_metrics_after(0)
    measure_before_training(run, folder, "a checkpoint")
    assert folder.read_before_training() is None and recall.count == 2
    measure_before_training(SimpleNamespace(**{**vars(run), "writes": False}), folder, None)
    assert folder.read_before_training() is None and recall.count == 3, "the chief writes"
    measure_before_training(run, folder, None)
    assert folder.read_before_training() is not None


def test_gain_without_a_common_metric():
    assert gain("held-out", None, {"recall_at_1": 0.5}) is None
    assert gain("test", {"epoch": 0.0, "recall_at_1": 0.5}, {"recall_at_2": 0.5}) is None
    same = gain("held-out", {"recall_at_1": 0.5}, {"recall_at_1": 0.5001})
    assert str(same) == "Training left Recall@1 on the held-out classes at 50.0."


def test_the_curves_begin_at_epoch_0(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(
        "pa_keras.plots.training_curves.save_picture", lambda figure, path: figures.append(figure)
    )
    trained = [{"epoch": e, "loss": 3.0 - e, "recall_at_1": e / 4} for e in (1, 2)]
    plots.curves([{"epoch": 0, "seconds": 0.0, "recall_at_1": 0.1}, *trained], tmp_path / "a.png")
    loss, recall = figures[0].axes
    np.testing.assert_allclose(loss.lines[0].get_xydata(), [[1, 2], [2, 1]])
    np.testing.assert_allclose(recall.lines[0].get_xydata(), [[0, 10], [1, 25], [2, 50]])
