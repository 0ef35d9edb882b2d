"""`evaluate --thresholds`: what it chooses on, what it records, and what it refuses."""

import csv
import errno
import json
import re

import keras
import numpy as np
import pytest
import yaml
from PIL import Image

from pa_keras import evaluate
from pa_keras.datasets import Images
from pa_keras.evaluation import calibration
from pa_keras.evaluation import evaluate as evaluation
from pa_keras.models import embedding_model
from pa_keras.models.checksum import checksum
from pa_keras.runs.folder import RunFolder


@pytest.fixture
def run_folder(photos, tmp_path):
    """A finished run that held out classes 1 and 3 of the five training classes."""
    keras.utils.set_random_seed(1)
    folder = tmp_path / "run"
    (folder / "state").mkdir(parents=True)
    embedding_model("conv4", 8, (20, 20), weights=None).save(folder / "best.keras")
    config = {
        "dataset": "folder",
        "data_dir": str(photos),
        "seed": 0,
        "data": {"crop_fraction": 1.0, "test_fraction": 0.5, "crop_to_boxes": False},
        "training": {"selection": "held_out", "held_out_fraction": 0.4},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with (folder / "images.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("part", "path", "class", "checksum"))
        for path in sorted(photos.rglob("*.png")):
            number = int(path.parent.name[-1])
            part = "queries" if number > 4 else "held out" if number in (1, 3) else "train"
            table.writerow((part, path.relative_to(photos), path.parent.name, "0"))
    (folder / "result.json").write_text(json.dumps({"epoch": 3, "metrics": {"recall_at_1": 0.5}}))
    return folder


def run(folder, *arguments):
    evaluate.main(["--run", str(folder), "--thresholds", *map(str, arguments)])


def failure(folder, *arguments):
    with pytest.raises(SystemExit) as stopped:
        run(folder, *arguments)
    return str(stopped.value.code)


@pytest.fixture
def nothing_embedded(monkeypatch):
    def embed(*arguments):
        raise AssertionError("It was embedded before the mistake was seen.")

    monkeypatch.setattr(evaluation, "embed_dataset_images", embed)


def cosines(folder, photos, classes):
    """Cosines of the pairs of different classes, by the evaluation's own embeddings."""
    model = keras.saving.load_model(folder / "best.keras", compile=False)
    paths = [p for c in classes for p in sorted((photos / f"class {c}").iterdir())]
    labels = np.repeat(classes, 6)
    images = Images(tuple(map(str, paths)), labels, tuple("0123456789"))
    vectors = evaluation.embed_dataset_images(model, images, 1.0).astype("float64")
    rows, columns = np.triu_indices(len(labels), 1)
    products = np.einsum("nd,nd->n", vectors[rows], vectors[columns])
    return products[labels[rows] != labels[columns]], products[labels[rows] == labels[columns]]


def test_chosen_on_held_out_classes_and_measured_on_test_classes(
    run_folder, photos, tmp_path, capsys
):
    run(
        run_folder, "--false-match-rate", 0.4, "--json", tmp_path / "a.json",
        "--thresholds-picture", tmp_path / "roc.png",
    )  # fmt: skip
    out = capsys.readouterr().out
    result = json.loads((tmp_path / "a.json").read_text())
    found = result["thresholds"]
    different, _ = cosines(run_folder, photos, [1, 3])
    assert found["chosen_on"] == "held-out classes"
    assert np.mean(different >= found["threshold"]) == pytest.approx(14 / 36)
    different, same = cosines(run_folder, photos, [5, 6, 7, 8, 9])
    rates = found["test"]["rates"]
    assert rates["false_match_rate"] == pytest.approx(np.mean(different >= found["threshold"]))
    assert rates["false_non_match_rate"] == pytest.approx(np.mean(same < found["threshold"]))
    assert (len(same), len(different)) == (75, 360)
    assert found["test"]["num_pairs_of_different_classes"] == 360
    assert found["open_set"]["num_with_mate"] == 18
    assert "chosen for a false match rate of 40 % on 2 held-out classes" in out
    assert "5 test classes" in out and "Open set, half of the classes left out" in out
    recorded = json.loads((run_folder / "result.json").read_text())
    assert recorded["epoch"] == 3 and recorded["metrics"] == {"recall_at_1": 0.5}
    assert recorded["calibration"] == result["calibration"]
    read = calibration.read(run_folder / "result.json")
    model = keras.saving.load_model(run_folder / "best.keras", compile=False)
    calibration.expect_model(read, checksum(model), 1.0)
    assert (read.threshold, read.image_size) == (found["threshold"], (20, 20))
    with Image.open(tmp_path / "roc.png") as picture:
        assert picture.size[0] > 1000


def test_without_held_out_classes_half_of_the_test_classes_serve(run_folder, photos, capsys):
    settings = yaml.safe_load((run_folder / "config.yaml").read_text())
    settings["training"]["selection"] = "last"
    (run_folder / "config.yaml").write_text(yaml.safe_dump(settings))
    run(run_folder, "--false-match-rate", 0.4)
    out = capsys.readouterr().out
    assert "on 3 test classes" in out and "2 other test classes" in out
    found = calibration.read(run_folder / "result.json").details
    numbers = [found[part]["num_pairs_of_different_classes"] for part in ("chosen", "test")]
    assert numbers == [108, 36]


def test_a_model_alone_records_nothing(run_folder, photos, tmp_path):
    before = (run_folder / "result.json").read_text()
    evaluate.main(
        ["--model", str(run_folder / "best.keras"), "--dataset", "folder", "--data-dir",
         str(photos), "--thresholds", "--false-match-rate", "0.4", "--json", str(tmp_path / "a")]
    )  # fmt: skip
    assert (run_folder / "result.json").read_text() == before
    assert calibration.read(tmp_path / "a").details["chosen_on"] == "half of the test classes"


@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        (["--test-fraction", 1], {"selection": "last"}),
        (["--data-dir", "other"], {"selection": "last"}),
    ],
)
def test_other_images_than_those_of_the_run_record_nothing(
    run_folder, photos, capsys, monkeypatch, arguments, changes
):
    monkeypatch.chdir(photos.parent)
    (photos.parent / "other").symlink_to(photos)
    settings = yaml.safe_load((run_folder / "config.yaml").read_text())
    settings["training"] |= changes
    (run_folder / "config.yaml").write_text(yaml.safe_dump(settings))
    before = (run_folder / "result.json").read_text()
    run(run_folder, "--false-match-rate", 0.4, *arguments)
    assert "not recorded in the run" in capsys.readouterr().out
    assert (run_folder / "result.json").read_text() == before


@pytest.mark.parametrize("shared", [1, 2])
def test_validation_classes_that_were_trained_on_are_not_chosen_on(
    run_folder, photos, tmp_path, capsys, shared
):
    """The split val has three classes, of which one or two are training classes as well."""
    for part, classes in {
        "train": range(3), "val": range(3 - shared, 6 - shared), "test": range(6, 10)
    }.items():  # fmt: skip
        (tmp_path / "set" / part).mkdir(parents=True)
        for number in classes:
            name = f"class {number}"
            (tmp_path / "set" / part / name).symlink_to(photos / name)
    settings = yaml.safe_load((run_folder / "config.yaml").read_text())
    settings["data_dir"] = str(tmp_path / "set")
    (run_folder / "config.yaml").write_text(yaml.safe_dump(settings))
    if shared == 2:
        message = failure(run_folder, "--false-match-rate", 0.4)
        assert "split val that are not training classes" in message and "received 1." in message
        return
    run(run_folder, "--false-match-rate", 0.4)
    assert "on 2 held-out classes" in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_to(run_folder, capsys, monkeypatch):
    def refuse(folder):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(RunFolder, "locked", refuse)
    run(run_folder, "--false-match-rate", 0.4)
    assert "cannot be written to, so its result does not record" in capsys.readouterr().out


def test_a_run_that_is_not_finished_or_in_use_is_not_touched(run_folder, capsys):
    before = (run_folder / "result.json").read_text()
    with RunFolder(run_folder).locked():
        run(run_folder, "--false-match-rate", 0.4)
    assert "another process trains" in capsys.readouterr().out
    assert (run_folder / "result.json").read_text() == before
    (run_folder / "result.json").unlink()
    run(run_folder, "--false-match-rate", 0.4)
    assert "is not finished" in capsys.readouterr().out
    assert not (run_folder / "result.json").exists()


@pytest.mark.usefixtures("nothing_embedded")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--false-match-rate", "0"], "between 0 and 1"),
        (["--false-match-rate", "1.5"], "between 0 and 1"),
        ([], "at least 1,000 pairs .* received 36. Add images, or ask for a rate of 0.28 or more"),
        (["--false-match-rate", "0.4", "--test-fraction", "0.8"], "held-out classes .* 'class 3'"),
        (["--thresholds-picture", "a.txt"], "end with one of"),
    ],
)
def test_bad_settings_are_seen_before_any_work(run_folder, arguments, message):
    assert re.search(message, failure(run_folder, *arguments))


def test_a_picture_without_thresholds(run_folder, tmp_path):
    with pytest.raises(SystemExit, match="Expected --thresholds with"):
        evaluate.main(["--run", str(run_folder), "--thresholds-picture", str(tmp_path / "a.png")])


def test_a_run_without_its_list_of_images(run_folder):
    (run_folder / "images.csv").unlink()
    assert "names the held-out classes" in failure(run_folder, "--false-match-rate", 0.4)


def test_a_damaged_result(run_folder):
    (run_folder / "result.json").write_text("{")
    assert "it is damaged" in failure(run_folder, "--false-match-rate", 0.4)
    assert (run_folder / "result.json").read_text() == "{"
