"""`fit` from the command line on a folder of small images, and the files that it writes."""

import dataclasses
import json
import math
import shutil
import sys
import types
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml

from pa_keras import fit, models
from pa_keras.config import FitConfig, ModelConfig
from pa_keras.models import checksum
from pa_keras.runs import models as run_models
from pa_keras.runs import train
from pa_keras.runs.data import load_run_data
from pa_keras.runs.models import make_models
from pa_keras.training.callbacks import save_checkpoint

pytestmark = pytest.mark.usefixtures("float32_policy")

SMALL = """
model: {backbone: conv4, weights: null, batch_norm: train, embedding_size: 8}
data: {image_size: 16, crop_fraction: 1.0}
batches: {batch_size: 6}
optimizer: {learning_rate: 0.001}
training: {epochs: 3}
"""


@pytest.fixture
def arguments(photos, tmp_path):
    config = tmp_path / "small.yaml"
    config.write_text(SMALL)
    return ["--config", str(config), "--dataset", "folder", "--data-dir", str(photos)]


def run(arguments, *more):
    fit.main([*arguments, *map(str, more)])


def failure(arguments, *more):
    """The message that a command ends with."""
    with pytest.raises(SystemExit) as stopped:
        run(arguments, *more)
    return str(stopped.value.code)


def rows(folder):
    """The rows of the trained epochs; epoch 0 is for test_before_training.py."""
    lines = (folder / "metrics.csv").read_text().splitlines()
    header = lines[0].split(",")
    cells = [dict(zip(header, line.split(","), strict=True)) for line in lines[1:]]
    found = [{name: float(value) for name, value in row.items() if value} for row in cells]
    return [row for row in found if row["epoch"] > 0]


def test_a_run_leaves_everything_and_says_where(arguments, tmp_path, capsys):
    folder = tmp_path / "run"
    run(arguments, "--run-dir", folder)
    assert {path.name for path in folder.iterdir()} == {
        "best.keras", "config.yaml", "curves.png", "fit.log", "images.csv", "metrics.csv",
        "neighbours.png", "result.json", "skipped_images.txt", "state", "tensorboard",
        "versions.json",
    }  # fmt: skip
    result = json.loads((folder / "result.json").read_text())
    recalls = [row["recall_at_1"] for row in rows(folder)]
    assert len(recalls) == 3 and result["epoch"] == 1 + int(np.argmax(recalls))
    assert result["num_classes"] == 5 and result["num_queries"] == 30
    closing = capsys.readouterr().out.splitlines()[-1]
    assert closing.startswith(f"{folder}/best.keras: epoch {result['epoch']}, Recall@1 ")
    assert " on 5 unseen classes. Training " in closing
    assert closing.endswith(f". Next: python -m pa_keras.evaluate --run {folder}")
    model = keras.saving.load_model(folder / "best.keras", compile=False)
    assert model.output_shape == (None, 8)
    assert yaml.safe_load((folder / "config.yaml").read_text())["model"]["embedding_size"] == 8
    assert json.loads((folder / "versions.json").read_text())["keras"] == keras.__version__


def test_a_run_that_is_resumed_keeps_its_last_model_until_it_is_written_anew(
    arguments, tmp_path, monkeypatch
):
    folder, seen = tmp_path / "run", []
    run(arguments, "--run-dir", folder, "--training.selection=last")
    monkeypatch.setattr(train, "finish", lambda run, of: seen.append(of.best_model))
    run(arguments, "--run-dir", folder, "--training.selection=last", "--resume")
    assert seen == [folder / "best.keras"] and seen[0].exists()


def test_a_finished_run_can_be_resumed_without_harm(arguments, tmp_path, capsys):
    run(arguments, "--run-dir", tmp_path / "run")
    first = capsys.readouterr().out.splitlines()[-1]
    result = tmp_path / "run" / "result.json"
    written = json.loads(result.read_text())
    model = keras.saving.load_model(tmp_path / "run" / "best.keras", compile=False)
    chosen = {"threshold": 0.5, "model": checksum(model)}
    result.write_text(json.dumps({**written, "calibration": chosen}))
    run(arguments, "--run-dir", tmp_path / "run", "--resume")
    assert capsys.readouterr().out.splitlines()[-1] == first
    assert json.loads(result.read_text()) == {**written, "calibration": chosen}, "the same model"
    result.write_text(json.dumps({**written, "calibration": {**chosen, "model": "another"}}))
    run(arguments, "--run-dir", tmp_path / "run", "--resume")
    assert json.loads(result.read_text()) == written


def test_resuming_with_other_settings_names_them(arguments, tmp_path):
    run(arguments, "--run-dir", tmp_path / "run", "--training.epochs=1")
    changes = ["--seed=3", "--training.warmup_epochs=0"]
    message = failure(arguments, "--run-dir", tmp_path / "run", "--resume", *changes)
    assert "seed, training.warmup_epochs. Leave them out" in message


def test_nothing_is_overwritten(arguments, tmp_path):
    run(arguments, "--run-dir", tmp_path / "run", "--training.epochs=1")
    before = (tmp_path / "run" / "metrics.csv").read_bytes()
    assert "nothing is overwritten" in failure(arguments, "--run-dir", tmp_path / "run")
    assert (tmp_path / "run" / "metrics.csv").read_bytes() == before


def test_dry_run_writes_nothing(arguments, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    run(arguments, "--dry-run")
    assert sorted(tmp_path.rglob("*")) == before
    out = capsys.readouterr().out
    assert "batch      (6, 16, 16, 3)" in out and "nothing was trained or written" in out


def test_a_profiled_run_leaves_a_trace_of_both_phases(arguments, tmp_path, caplog):
    # If a phase takes less than a second, Keras writes both traces to the folder of that second.
    run(arguments, "--run-dir", tmp_path / "run", "--training.profile", "2:3")
    traces = tmp_path / "run" / "tensorboard" / "train" / "plugins" / "profile"
    assert list(traces.glob("*/*.xplane.pb"))
    assert f"tensorboard --logdir {tmp_path / 'run' / 'tensorboard'}" in caplog.text


@pytest.mark.parametrize("selection", ["reference_protocol", "last"])
def test_selection_on_the_test_classes_and_none(arguments, tmp_path, selection):
    folder = tmp_path / "run"
    run(arguments, "--run-dir", folder, f"--training.selection={selection}")
    result = json.loads((folder / "result.json").read_text())
    recalls = [row.get("recall_at_1") for row in rows(folder)]
    if selection == "last":
        assert result["epoch"] == 3 and recalls == [None] * 3
    else:  # measured in the training and again with the model from disk
        assert result["metrics"]["recall_at_1"] == pytest.approx(max(recalls))


@pytest.mark.parametrize("selection", ["held_out", "last"])
def test_training_smaller_than_evaluating(arguments, tmp_path, monkeypatch, selection):
    trained = []  # weights of the smaller model after each epoch

    def remember(self, epoch, logs=None, save=save_checkpoint.SaveCheckpoint.on_epoch_end):
        trained.append(self.model.get_layer("embedding_model").get_weights())
        save(self, epoch, logs)

    monkeypatch.setattr(save_checkpoint.SaveCheckpoint, "on_epoch_end", remember)
    folder = tmp_path / "run"
    options = ["--augmentation.image_size=20", "--data.image_size=24"]
    run(arguments, "--run-dir", folder, *options, f"--training.selection={selection}")
    kept = keras.saving.load_model(folder / "best.keras", compile=False)
    assert kept.input_shape == (None, 24, 24, 3)
    epoch = json.loads((folder / "result.json").read_text())["epoch"]
    for a, b in zip(kept.get_weights(), trained[epoch - 1], strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_written_config_makes_the_same_run_again(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(arguments, "--run-dir", "first", "--training.epochs=1")
    fit.main(["--config", "first/config.yaml"])
    again = rows(tmp_path / "runs" / "folder-1")
    assert again[0]["loss"] == pytest.approx(rows(tmp_path / "first")[0]["loss"], rel=1e-4)


def test_both_sizes_are_built_from_the_same_weights(photos, monkeypatch):
    # Keras' EfficientNets scale pixels differently with and without ImageNet weights.
    built = []

    def record(backbone, embedding_size, image_size, weights, batch_norm):
        built.append((image_size, weights))
        return models.embedding_model(backbone, embedding_size, image_size, None, batch_norm)

    monkeypatch.setattr(run_models, "embedding_model", record)
    config = FitConfig()
    config.model = ModelConfig(backbone="conv4", weights="imagenet", embedding_size=8)
    config.data.image_size, config.augmentation.image_size = 24, 16
    model, embedder = make_models(config, num_classes=3)
    assert built == [((16, 16), "imagenet"), ((24, 24), "imagenet")]
    for a, b in zip(model.get_weights(), embedder.get_weights(), strict=False):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "setting",
    [
        "--data.crop_fraction=1.5", "--evaluation.batch_size=0", "--evaluation.ks=[0]",
        "--evaluation.ks=[]", "--batches.batch_size=0", "--loss_options.alpha=0",
        "--training.warmup_epochs=9", "--evaluation.every=0", "--augmentation.area=[20, 100]",
    ],
)  # fmt: skip
def test_settings_out_of_range_leave_no_folder(arguments, tmp_path, setting):
    # "last" evaluates nothing before the end, so that only a check can find these.
    selection = "held_out" if "every" in setting else "last"
    options = ["--run-dir", tmp_path / "run", f"--training.selection={selection}", setting]
    assert setting.partition("=")[0].rpartition(".")[2] in failure(arguments, *options)
    assert not (tmp_path / "run").exists()


def test_mixed_precision_and_balanced_batches(arguments, tmp_path):
    folder = tmp_path / "run"
    options = ["--training.precision=mixed_float16", "--batches.classes_per_batch=2"]
    run(arguments, "--run-dir", folder, *options, "--batches.images_per_class=3")
    assert all(math.isfinite(row["loss"]) for row in rows(folder))


def test_bad_images_stop_or_are_skipped(arguments, photos, tmp_path):
    bad = photos / "class 1" / "0.png"
    bad.write_bytes(bad.read_bytes()[:60])
    assert str(bad) in failure(arguments, "--run-dir", tmp_path / "run")
    assert not (tmp_path / "run").exists()
    run(arguments, "--run-dir", tmp_path / "run", "--data.on_bad_image=skip")
    assert (tmp_path / "run" / "skipped_images.txt").read_text().startswith(f"{bad}: ")


def test_nan_stops_and_names_the_step(arguments, tmp_path):
    message = failure(
        arguments, "--run-dir", tmp_path / "run", "--optimizer.learning_rate=1e30",
        "--optimizer.clip_value=null",
    )  # fmt: skip
    assert "in step" in message and "of epoch" in message and "learning_rate" in message


def test_a_batch_larger_than_the_data(arguments, tmp_path):
    message = failure(arguments, "--run-dir", tmp_path / "run", "--batches.batch_size=500")
    assert "500" in message


def test_more_classes_in_a_batch_than_there_are(arguments, tmp_path):
    options = ["--batches.classes_per_batch=6", "--batches.images_per_class=1"]
    message = failure(arguments, "--run-dir", tmp_path / "run", *options)
    assert "classes" in message and "6" in message


def test_weights_and_biases(arguments, tmp_path, monkeypatch):
    logged = []
    fake = types.SimpleNamespace(init=lambda **options: logged.append(options), log=logged.append)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    run(arguments, "--run-dir", tmp_path / "run", "--logging.wandb_project=mine")
    assert (logged[0]["project"], logged[0]["name"]) == ("mine", "run")
    assert [row["epoch"] for row in logged[1:]] == [1, 2, 3] and "recall_at_1" in logged[1]
    begun = len(logged)
    run([], "--run-dir", tmp_path / "run", "--resume")
    run(arguments, "--run-dir", tmp_path / "other" / "run", "--logging.wandb_project=mine")
    resumed, other = (each for each in logged[begun:] if "id" in each)
    assert resumed["id"] == logged[0]["id"] != other["id"], "of the folder, whatever its name"


def test_weights_and_biases_without_its_package(arguments, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    options = ["--run-dir", tmp_path / "run", "--logging.wandb_project=mine"]
    assert 'pip install "pa_keras[wandb]"' in failure(arguments, *options)


def test_every_shipped_config_parses():
    configs = sorted(Path(__file__).parent.parent.glob("configs/*.yaml"))
    assert configs
    parser = fit.cli.make_parser(fit.FitConfig, "fit", "")
    for config in configs:
        fit.cli.parse(parser, fit.FitConfig, ["--config", str(config)], shipped=True)


@pytest.mark.parametrize("loss", ["triplet", "soft_triple", "multi_similarity"])
def test_another_loss_by_its_name(arguments, tmp_path, loss):
    folder = tmp_path / "run"
    run(arguments, "--run-dir", folder, "--loss", loss, "--training.epochs=2")
    kept = yaml.safe_load((folder / "config.yaml").read_text())
    assert kept["loss"] == loss
    assert kept["batches"]["sampling"] == ("random" if loss == "soft_triple" else "balanced")
    assert kept["loss_options"]["margin" if loss != "multi_similarity" else "epsilon"] is not None
    run(arguments, "--run-dir", folder, "--loss", loss, "--training.epochs=2", "--resume")
    model = keras.saving.load_model(folder / "best.keras", compile=False)
    assert model.output_shape == (None, 8), "the embeddings, whatever the loss was trained on"


def test_a_pair_loss_with_a_memory(arguments, tmp_path):
    folder = tmp_path / "run"
    memory = ["--loss_options.memory_size=12", "--loss_options.memory_warm_up_steps=2"]
    run(arguments, "--run-dir", folder, "--loss", "contrastive", *memory, "--training.epochs=2")
    kept = yaml.safe_load((folder / "config.yaml").read_text())["loss_options"]
    assert (kept["memory_size"], kept["memory_warm_up_steps"]) == (12, 2)
    assert all(np.isfinite(row["loss"]) for row in rows(folder))
    model = keras.saving.load_model(folder / "best.keras", compile=False)
    assert model.output_shape == (None, 8), "the embedding model, without the memory"


def test_a_misspelt_loss_offers_the_nearest(arguments, capsys):
    with pytest.raises(SystemExit):
        run(arguments, "--loss", "multi_similarty")
    assert "Did you mean multi_similarity?" in capsys.readouterr().err


def test_a_loss_of_pairs_without_pairs(arguments, tmp_path, photos):
    for path in photos.rglob("[1-5].png"):
        if path.parent.name < "class 5":
            path.unlink()
    message = failure(
        arguments, "--loss", "triplet", "--training.selection=last", "--batches.batch_size=4"
    )
    assert "one image each" in message and "proxy loss" in message


def test_a_loss_of_pairs_with_shuffled_batches_of_singletons(arguments, tmp_path):
    """Two images are of one class or of two, so that positive or negative pairs are missing."""
    message = failure(
        arguments, "--run-dir", tmp_path / "run", "--loss", "n_pair", "--batches.batch_size=2",
        "--batches.sampling=random",
    )  # fmt: skip
    assert "Draw balanced batches: set images_per_class to 2 or more" in message


def test_label_noise_is_for_the_training_images_alone(arguments, monkeypatch):
    def load(**data):
        config = FitConfig(dataset="folder", data_dir=arguments[-1])
        changed = dataclasses.replace(config.data, **data)
        return load_run_data(dataclasses.replace(config, data=changed))

    clean, noisy = load(), load(label_noise=0.5)
    train = clean.dataset.train
    assert (train.labels != noisy.dataset.train.labels).sum() == round(0.5 * len(train))
    assert (clean.dataset.queries.labels == noisy.dataset.queries.labels).all()
    assert (clean.selection.queries.labels == noisy.selection.queries.labels).all(), "held out"
    assert clean.selection.queries.paths == noisy.selection.queries.paths


def test_a_validation_split_selects_the_best_epoch(photos, tmp_path):
    """No training class is held out then, and only its images are checked and fingerprinted."""
    parts = {"train": range(3), "val": range(3, 6), "test": range(6, 10)}
    for part, numbers in parts.items():
        for number in numbers:
            shutil.move(photos / f"class {number}", tmp_path / "own" / part / f"class {number}")
    data = load_run_data(FitConfig(dataset="folder", data_dir=str(tmp_path / "own")))
    assert data.selection.gallery is None
    assert data.selection.queries.class_names == ("class 3", "class 4", "class 5")
    assert data.train.num_classes == 3 and data.dataset.queries.num_classes == 4
    assert len(data.parts()["held out"]) == 18
    (tmp_path / "own" / "val" / "class 3" / "0.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"val/class 3/0\.png"):
        load_run_data(FitConfig(dataset="folder", data_dir=str(tmp_path / "own")))


def test_test_images_alone_cannot_be_trained_on(arguments, photos, tmp_path):
    message = failure(arguments, "--run-dir", tmp_path / "run", "--data.test_fraction=1")
    assert message == (
        "error: Expected training images in the data set 'photos'; received only test images, "
        "Images(60 images, 10 classes). To train, add a split train, or give a test_fraction below "
        "1. To measure a trained model on them: python -m pa_keras.evaluate"
    )
    shutil.move(photos, tmp_path / "own" / "test")
    message = failure([*arguments[:-1], str(tmp_path / "own")], "--run-dir", tmp_path / "run")
    assert message.startswith("error: Expected training images in the data set 'own'")
    assert "\n" not in message and not (tmp_path / "run").exists()


def test_outliers_come_from_a_folder(arguments, photos, tmp_path):
    foreign = tmp_path / "foreign"
    shutil.copytree(photos / "class 0", foreign)
    message = failure(arguments, "--data.outliers=0.3")
    assert "--data.outliers_dir DIR" in message
    config = FitConfig(dataset="folder", data_dir=arguments[-1])
    data = dataclasses.replace(config.data, outliers=0.3, outliers_dir=str(foreign))
    train = load_run_data(dataclasses.replace(config, data=data)).dataset.train
    assert sum(path.startswith(str(foreign)) for path in train.paths) == round(0.3 * len(train))
    (foreign / "broken.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"broken\.png"):
        load_run_data(dataclasses.replace(config, data=data))


def test_a_class_with_fewer_images_than_the_sampler_asks(arguments, photos, tmp_path, capsys):
    for path in (photos / "class 0").glob("[1-5].png"):
        path.unlink()
    run(arguments, "--run-dir", tmp_path / "run", "--loss", "n_pair", "--training.selection=last")
    log = (tmp_path / "run" / "fit.log").read_text() + capsys.readouterr().err
    assert "1 of 5 classes have fewer than 2 images" in log


def test_a_batch_in_chunks_and_steps_in_one_execution_change_nothing(arguments, tmp_path):
    # Batch normalization that trains would normalize each chunk separately.
    arguments = [*arguments, "--model.batch_norm=frozen", "--training.selection=last"]
    run(arguments, "--run-dir", tmp_path / "whole")
    more = ["--training.batch_chunks=3", "--training.steps_per_execution=3"]
    run(arguments, "--run-dir", tmp_path / "parts", *more)  # with 5 steps per epoch
    pairs = zip(rows(tmp_path / "whole"), rows(tmp_path / "parts"), strict=True)
    for expected, received in pairs:
        assert received["loss"] == pytest.approx(expected["loss"], rel=1e-4)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("batch_chunks=4", "batch_size that batch_chunks=4 divides; received a batch of 6"),
        ("batch_chunks=0", "batch_chunks of 1 or more; received 0"),
        ("steps_per_execution=0", "steps_per_execution of at least 1; received 0"),
    ],
)
def test_chunks_and_executions_out_of_range(arguments, tmp_path, setting, message):
    assert message in failure(arguments, "--run-dir", tmp_path / "run", f"--training.{setting}")
    assert not (tmp_path / "run").exists()


def test_a_dry_run_of_several_workers_waits_for_none_and_knows_what_they_cannot(
    arguments, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    dry = ["--dry-run", "--training.strategy=multi_worker"]
    run(arguments, *dry)
    assert "A dry run: nothing was trained" in capsys.readouterr().out
    message = failure(arguments, *dry, "--training.steps_per_execution=2")
    assert "steps_per_execution=1 for training.strategy=multi_worker" in message
    assert not (tmp_path / "runs").exists()
