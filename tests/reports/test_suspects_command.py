"""`evaluate --suspects` on images with errors that were planted."""

import csv
import json

import keras
import numpy as np
import pytest
from PIL import Image

from pa_keras import evaluate
from pa_keras.evaluation.evaluate import embed_dataset_images
from pa_keras.models import embedding_model
from pa_keras.reports import subject


@pytest.fixture
def model_file(tmp_path):
    keras.utils.set_random_seed(1)
    embedding_model("conv4", 8, (20, 20), weights=None).save(tmp_path / "model.keras")
    return tmp_path / "model.keras"


def arguments(model_file, photos, *more):
    source = ["--model", model_file, "--dataset", "folder", "--data-dir", photos]
    return [str(each) for each in [*source, "--crop-fraction", 1.0, *more]]


def failure(*given):
    with pytest.raises(SystemExit) as stopped:
        evaluate.main(arguments(*given))
    return str(stopped.value.code)


def test_suspects_of_training_and_test_images(model_file, photos, tmp_path, capsys):
    # A copy of an image of a training class in a test class.
    copy = photos / "class 7" / "5.png"
    copy.write_bytes((photos / "class 1" / "2.png").read_bytes())
    table, picture, result = (tmp_path / name for name in ("a, b.csv", "a.png", "a.json"))
    more = ["--suspects", table, "--suspects-picture", picture, "--json", result]
    evaluate.main(arguments(model_file, photos, *more, "--suspects-similarity", 1.0))
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert rows[0] == {
        "kind": "duplicate",
        "score": "1.0000",
        "path": "class 1/2.png",
        "class_name": "class 1",
        "other_path": "class 7/5.png",
        "other_class_name": "class 7",
    }
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    counts = json.loads(result.read_text())["suspects"]
    assert (counts["images"], counts["duplicate"], counts["alone_in_class"]) == (60, 1, 0)
    for kind in ("label", "duplicate", "classes"):
        assert counts[kind] == sum(row["kind"] == kind for row in rows)
    assert "suspects among 60 images, training images included" in capsys.readouterr().out
    with Image.open(picture) as drawn:
        assert drawn.size[0] > 300


def test_an_image_for_several_reports_is_embedded_once(model_file, photos, tmp_path, monkeypatch):
    embedded = []

    def recorded(model, images, *options):
        embedded.extend(images.paths)
        return embed_dataset_images(model, images, *options)

    monkeypatch.setattr(subject, "embed_dataset_images", recorded)
    both = ["--suspects", tmp_path / "a.csv", "--map", tmp_path / "a.png", "--map-neighbours", 5]
    evaluate.main(arguments(model_file, photos, *both))
    # The test images are embedded with the metrics; half of the 60 images are of training classes.
    assert len(embedded) == len(set(embedded)) == 30


def test_mistakes_are_found_before_any_work(model_file, photos, tmp_path):
    there = tmp_path / "there.csv"
    there.write_text("mine")
    assert "nothing is overwritten" in failure(model_file, photos, "--suspects", there)
    assert there.read_text() == "mine"
    table = ["--suspects", tmp_path / "a.csv"]
    assert "duplicates to be kept" in failure(model_file, photos, *table, "--duplicates", "drop")
    assert "one name twice" in failure(
        model_file, photos, *table, "--per-class", tmp_path / "a.csv"
    )
    picture = ["--suspects-picture", tmp_path / "a.txt"]
    assert "end with one of" in failure(model_file, photos, *picture)
    assert not (tmp_path / "a.csv").exists()


def test_a_training_image_that_cannot_be_decoded(model_file, photos, tmp_path):
    bad = photos / "class 0" / "0.png"
    bad.write_bytes(b"")
    table = tmp_path / "a.csv"
    assert str(bad) in failure(model_file, photos, "--suspects", table)
    more = ["--suspects", table, "--on-bad-image", "skip"]
    evaluate.main(arguments(model_file, photos, *more))
    assert "class 0/0.png" not in table.read_text()


def test_a_model_that_diverged(model_file, photos, tmp_path, monkeypatch):
    from pa_keras.reports import subject

    embed = subject.embed_dataset_images

    def diverged(model, images, *others):
        vectors = embed(model, images, *others)
        if "class 0" in images.paths[0]:  # the training images
            vectors[3] = np.nan
        return vectors

    monkeypatch.setattr(subject, "embed_dataset_images", diverged)
    message = failure(model_file, photos, "--suspects", tmp_path / "a.csv")
    assert "Expected finite rows" in message and "received 1 others of 60" in message


def test_more_neighbours_than_images(model_file, photos, tmp_path):
    tables = [tmp_path / name for name in ("all.csv", "more.csv")]
    for table, number in zip(tables, (59, 200), strict=True):
        more = ["--suspects", table, "--suspects-neighbours", number]
        evaluate.main(arguments(model_file, photos, *more))
    assert tables[0].read_text() == tables[1].read_text()
