"""`export` as a user types it, with a random model and a folder of small images."""

import dataclasses
import hashlib
import importlib.util
import json
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml
from PIL import Image

from pa_keras import embed, export, exporters
from pa_keras.evaluation.calibration import Calibration
from pa_keras.exporters import agreement, match_agreement
from pa_keras.models import checksum, embedding_model

FORMATS = ("saved_model", "tflite", "tflite_float16", "tflite_dynamic", "tflite_int8", "onnx")


@pytest.fixture
def run_folder(photos, tmp_path):
    keras.utils.set_random_seed(1)
    folder = tmp_path / "runs" / "photos-1"
    (folder / "state").mkdir(parents=True)
    embedding_model("conv4", 8, (20, 20), weights=None).save(folder / "best.keras")
    config = {
        "dataset": "folder",
        "data_dir": str(photos),
        "data": {"crop_fraction": 1.0, "test_fraction": 0.5, "crop_to_boxes": False},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "result.json").write_text(json.dumps({"metrics": {"recall_at_1": 0.5}}))
    return folder


def run(*arguments):
    export.main([str(argument) for argument in arguments])


def failure(*arguments):
    with pytest.raises(SystemExit) as stopped:
        run(*arguments)
    return str(stopped.value.code)


def digests(folder):
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def card(out, name="photos-1", version=1):
    return json.loads((out / f"{name}.files" / str(version) / "model_card.json").read_text())


def test_every_format(run_folder, photos, tmp_path, capsys):
    before = digests(run_folder)
    out = tmp_path / "out"
    run(
        "--run", run_folder, "--formats", *FORMATS, "--out", out, "--gallery", photos, "--k", 3,
        "--gallery-dtype", "int8", "--batch-sizes", 1, 4, "--allow-disagreement",
    )  # fmt: skip
    assert digests(run_folder) == before
    assert sorted(each.name for each in (out / "photos-1.files" / "1").iterdir()) == [
        "batching_parameters.txt", "model.onnx", "model.onnx.json", "model.tflite",
        "model.tflite.json", "model_card.json", "model_card.md", "model_dynamic.tflite",
        "model_dynamic.tflite.json", "model_float16.tflite", "model_float16.tflite.json",
        "model_int8.tflite", "model_int8.tflite.json", "models.config",
    ]  # fmt: skip
    assert (out / "photos-1/1/assets.extra/tf_serving_warmup_requests").stat().st_size
    printed = capsys.readouterr().out
    assert f"{out}/photos-1/1: saved_model, tflite" in printed
    found = card(out)
    artefacts = {each["kind"]: each for each in found["agreement"]["artefacts"]}
    assert tuple(artefacts) == ("keras", *FORMATS)
    assert artefacts["saved_model"]["cosine_min"] > 1 - 1e-6
    assert artefacts["onnx"]["cosine_min"] > 0.9999
    assert found["agreement"]["images"] == 30
    assert found["metrics"] == {"recall_at_1": 0.5}
    assert (found["run"], found["gallery"]["size"], found["gallery"]["k"]) == ("photos-1", 60, 3)
    model = keras.saving.load_model(run_folder / "best.keras")
    assert found["model_checksum"] == checksum(model)
    markdown = (out / "photos-1.files/1/model_card.md").read_text()
    assert "60 vectors in int8" in markdown and "| saved_model | 1.0000000" in markdown
    answer = tf.saved_model.load(out / "photos-1" / "1").signatures["neighbours_of_images"](
        image_bytes=tf.constant([(photos / "class 7" / "2.png").read_bytes()])
    )
    assert answer["ids"].numpy()[0, 0] == b"class 7/2.png"
    assert answer["labels"].numpy()[0, 0] == b"class 7"


def test_a_model_file_and_a_gallery_of_embed(run_folder, photos, tmp_path):
    model, npz, out = run_folder / "best.keras", tmp_path / "photos.npz", tmp_path / "out"
    data = ["--dataset", "folder", "--data-dir", photos]
    embed.main(["--model", str(model), "--images", str(photos), "--out", str(npz)])
    run("--model", model, *data, "--out", out, "--gallery", npz, "--name", "photos")
    assert (out / "photos" / "1" / "saved_model.pb").exists()
    assert (card(out, "photos")["run"], card(out, "photos")["input"]["crop_fraction"]) == (
        None, 0.875,
    )  # fmt: skip
    message = failure(
        "--model", model, *data, "--out", out, "--gallery", npz, "--k", 61, "--name", "b"
    )
    assert "gallery's size, 60; received 61" in message
    message = failure("--run", run_folder, "--out", out, "--gallery", npz)
    assert "crop_fraction 1.0" in message and "has 0.875" in message
    other = tmp_path / "other.keras"
    embedding_model("conv4", 8, (20, 20), weights=None).save(other)
    message = failure("--model", other, *data, "--out", out, "--gallery", npz)
    assert "checksum differs" in message
    assert sorted(each.name for each in out.iterdir()) == ["photos", "photos.files"]


def test_nothing_is_overwritten(run_folder, tmp_path):
    out = tmp_path / "out"
    run("--run", run_folder, "--out", out)
    before = digests(out)
    assert "Give --version 2, or --force" in failure("--run", run_folder, "--out", out)
    assert digests(out) == before
    run("--run", run_folder, "--out", out, "--version", 2)
    assert before.items() <= digests(out).items()
    run("--run", run_folder, "--out", out, "--formats", "onnx", "--force")
    assert not (out / "photos-1" / "1").exists()
    assert (out / "photos-1.files" / "1" / "model.onnx").exists()


def test_disagreement_writes_nothing_unless_allowed(run_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(agreement._LEAST_COSINE, "onnx", 1.1)
    out, arguments = tmp_path / "out", ["--run", run_folder, "--formats", "onnx"]
    message = failure(*arguments, "--out", out)
    assert "received onnx with a least cosine of" in message and "--allow-disagreement" in message
    assert not list(out.iterdir())
    run(*arguments, "--out", out, "--allow-disagreement")
    assert "**disagrees**" in capsys.readouterr().out
    assert card(out)["agreement"]["artefacts"][1]["agrees"] is False


@pytest.mark.parametrize("kind", ["saved_model", "tflite"])
def test_a_disk_that_fills_up_is_one_line_and_leaves_nothing(run_folder, tmp_path, kind):
    out = tmp_path / "out"
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000));"
        f"from pa_keras import export; export.main(['--run', {str(run_folder)!r},"
        f"'--out', {str(out)!r}, '--formats', {kind!r}])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert f"error: Expected to write an export to {out}; File too large. Nothing" in ended.stderr
    assert not list(out.iterdir())


def test_the_report_takes_complete_classes(run_folder, tmp_path):
    run("--run", run_folder, "--out", tmp_path, "--report-images", 13)
    assert card(tmp_path)["agreement"]["images"] == 18  # three classes of six


def test_a_set_of_test_images_alone(run_folder, photos, tmp_path):
    for number in (0, 1):
        shutil.copytree(photos / f"class {number}", tmp_path / "own" / "test" / f"class {number}")
    (tmp_path / "own" / "test" / "single").mkdir()
    shutil.copy(photos / "class 2" / "0.png", tmp_path / "own" / "test" / "single")
    own = ["--run", run_folder, "--dataset", "folder", "--data-dir", tmp_path / "own"]
    message = failure(*own, "--out", tmp_path, "--formats", "saved_model", "tflite_int8")
    assert message == (
        "error: Expected training images to calibrate tflite_int8 with; the data set 'own' has "
        "only test images. Leave tflite_int8 out, or give a data set with a split train."
    )
    assert not (tmp_path / "photos-1").exists()
    run(*own, "--out", tmp_path)
    assert card(tmp_path)["agreement"]["images"] == 13


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--formats", "onnx", "onnx"], "different formats; received onnx, onnx"),
        (["--formats", "onnx", "--gallery", "photos"], "Expected saved_model among the formats"),
        (["--calibration-images", "0"], "calibration_images of 1 or more; received 0"),
        (["--version", "0"], "version of 1 or more; received 0"),
        (["--name", "a/b"], "letters, digits, _ and -"),
        (["--report-images", "0"], "report_images of 1 or more; received 0"),
        (["--tflite-batch-size", "0"], "tflite_batch_size of 1 or more; received 0"),
        (["--gallery", "nowhere"], "nowhere"),
        (["--batch-sizes", "8", "1"], "batch_sizes of 1 or more, increasing"),
        (["--crop-fraction", "2"], "crop_fraction in (0, 1]"),
    ],
)
def test_settings_that_are_refused(run_folder, tmp_path, arguments, message):
    assert message in failure("--run", run_folder, "--out", tmp_path / "out", *arguments)
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_bad_images_are_left_out_where_the_run_did(run_folder, photos, tmp_path):
    for number in range(10):
        (photos / f"class {number}" / "bad.png").write_bytes(b"no image")
    arguments = ["--run", run_folder, "--gallery", photos, "--calibration-images", 99]
    arguments += ["--formats", "saved_model", "tflite_int8", "--allow-disagreement"]
    assert "received 5 of 35 that" in failure(*arguments, "--out", tmp_path / "a")
    config = yaml.safe_load((run_folder / "config.yaml").read_text())
    config["data"]["on_bad_image"] = "skip"
    (run_folder / "config.yaml").write_text(yaml.safe_dump(config))
    run(*arguments, "--out", tmp_path / "b")
    assert card(tmp_path / "b")["gallery"]["size"] == 60


def test_a_spoilt_result_is_met_before_the_work(run_folder, tmp_path):
    for content in (
        b"{}", b'{"metrics": ', b"[]", b'{"metrics": 1}', b'{"metrics": {"a": []}}', b"\xff",
    ):  # fmt: skip
        (run_folder / "result.json").write_bytes(content)
        assert "Expected the metrics of the run in" in failure(
            "--run", run_folder, "--out", tmp_path / "out"
        )
        assert not (tmp_path / "out").exists()


def test_a_missing_package_is_met_before_the_work(run_folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "tf2onnx" else find_spec(name)
    )
    message = failure("--run", run_folder, "--out", tmp_path / "out", "--formats", "onnx")
    assert 'Expected tf2onnx for this format; install it: pip install "pa_keras[onnx]"' in message
    assert not (tmp_path / "out").exists()


def test_a_run_without_a_best_model(run_folder, tmp_path):
    (run_folder / "best.keras").unlink()
    message = failure("--run", run_folder, "--out", tmp_path / "out")
    assert "continue it with --resume" in message
    assert "folder of a run" in failure("--run", tmp_path, "--out", tmp_path / "out")
    assert "either a run or a model" in failure("--out", tmp_path / "out")


def calibrate(run_folder, threshold, **changes):
    """Writes a calibrated threshold as `evaluate --thresholds` does."""
    made_by = checksum(keras.saving.load_model(run_folder / "best.keras", compile=False))
    found = Calibration(threshold, 0.01, made_by, 1.0, (20, 20), {"chosen_on": "held-out classes"})
    content = {"metrics": {}, "calibration": dataclasses.replace(found, **changes).as_json()}
    (run_folder / "result.json").write_text(json.dumps(content))


def plain_embeddings(run_folder, paths):
    """Embeds the central 20 x 20 of images that are 20 high, without our pipelines."""
    pixels = np.asarray([np.asarray(Image.open(path))[:, 2:22] for path in paths], "float32")
    return keras.saving.load_model(run_folder / "best.keras")(pixels, training=False).numpy()


def test_a_calibrated_threshold(run_folder, photos, tmp_path, capsys):
    files = sorted(photos.rglob("*.png"))
    embeddings = plain_embeddings(run_folder, files)
    nearest = -np.sort(-embeddings @ embeddings.T)[:, :3]
    values = np.sort(nearest[:, 1:].ravel())
    threshold = float(values[len(values) // 2 - 1 :][:2].mean())
    calibrate(run_folder, threshold)
    out = tmp_path / "out"
    run(
        "--run", run_folder, "--out", out, "--gallery", photos, "--k", 3, "--batch-sizes", 1,
        "--min-similarity", "calibrated",
    )  # fmt: skip
    answer = tf.saved_model.load(out / "photos-1" / "1").signatures["neighbours_of_images"](
        image_bytes=tf.constant([path.read_bytes() for path in files])
    )
    matched = answer["matched"].numpy()
    assert 60 < matched.sum() < 180
    is_clear = np.abs(nearest - threshold) > 1e-5
    np.testing.assert_array_equal(matched[is_clear], (nearest >= threshold)[is_clear])
    match = card(out)["match"]
    assert match["min_similarity"] == match["calibration"]["threshold"] == threshold
    assert match["calibration"]["details"] == {"chosen_on": "held-out classes"}
    assert match["agreement"]["images"] == 30 and match["agreement"]["wrong"] == 0
    printed = capsys.readouterr().out
    sentence = (
        f"of 30 test images have a match among their 3 neighbours (cosine >= {threshold:.4f})"
    )
    assert sentence in printed
    assert "false match rate of 1 % on held-out classes." in (
        (out / "photos-1.files/1/model_card.md").read_text()
    )


def test_matches_that_disagree_write_nothing(run_folder, photos, tmp_path, monkeypatch):
    wrong = {"wrong": 7}
    measure = match_agreement.measure_matches
    monkeypatch.setattr(
        exporters,
        "measure_matches",
        lambda *each, **named: dataclasses.replace(measure(*each, **named), **wrong),
    )
    out = tmp_path / "out"
    message = failure(
        "--run", run_folder, "--out", out, "--gallery", photos, "--k", 2, "--batch-sizes", 1,
        "--min-similarity", 0.5,
    )  # fmt: skip
    assert "7 of its 60 decisions differ by more than rounding" in message
    assert not list(out.iterdir())


def test_thresholds_that_are_refused(run_folder, photos, tmp_path):
    arguments = ["--run", run_folder, "--out", tmp_path / "out", "--min-similarity"]
    message = failure(*arguments, 0.5)
    assert "Expected a gallery for --min-similarity" in message and "Give --gallery" in message
    arguments = ["--gallery", photos, *arguments]
    assert "Expected a min_similarity of -1 to 1, a cosine; received 2" in failure(*arguments, 2)
    assert 'it has no "calibration". Run python -m' in failure(*arguments, "calibrated")
    calibrate(run_folder, 0.5, model="b" * 64)
    message = failure(*arguments, "calibrated")
    assert "received one of the model bbbbbbbbbbbb" in message
    calibrate(run_folder, 0.5, crop_fraction=0.875)
    assert "received one for 0.875" in failure(*arguments, "calibrated")
    missing = tmp_path / "missing.json"
    message = failure(*arguments, "calibrated", "--calibration", missing)
    assert f"Expected a calibrated threshold in {missing}; there is no such file" in message
    message = failure(*arguments[:-1], "--calibration", missing)
    assert "Expected --min-similarity calibrated, since --calibration is given" in message
    assert not (tmp_path / "out").exists()
