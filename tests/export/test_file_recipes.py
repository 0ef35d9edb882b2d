"""The scripts of export/tflite and export/onnx, without TensorFlow and Keras."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from pa_keras.exporters import to_onnx, to_tflite
from pa_keras.models import embedding_model
from pa_keras.pipelines import evaluation_batches

RECIPES = Path(__file__).parents[2] / "export"
# Runs the script as __main__ in a process that cannot import what its users do not have.
RUN = """
import runpy, sys
for name in ("tensorflow", "keras", "pa_keras"):
    sys.modules[name] = None  # importing it fails
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
CROP_FRACTION = 0.8


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return embedding_model("conv4", 8, (30, 40), weights=None)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A wide and a tall photograph, one with a palette, one rotated, one tiny, one very long."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    blobs = Image.fromarray(rng.integers(0, 256, (5, 6, 3), "uint8"))
    wide = blobs.resize((120, 50), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = 8
    wide.save(folder / "0.jpg", quality=95)
    wide.rotate(90, expand=True).save(folder / "1.png")
    wide.convert("P").save(folder / "2.png")
    wide.save(folder / "3.jpg", exif=exif)
    blobs.save(folder / "4.png")
    wide.resize((4000, 31)).save(folder / "5.png")
    wide.convert("L").save(folder / "6.png")
    deep = np.asarray(wide.convert("L"), np.uint16) * 257
    Image.fromarray(deep).save(folder / "7.png")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def expected(model, images):
    paths = [str(path) for path in images]
    options = {"batch_size": 99, "image_size": (30, 40), "crop_fraction": CROP_FRACTION}
    return model(next(iter(evaluation_batches(paths, **options))), training=False).numpy()


def run(script, *arguments):
    command = [sys.executable, "-c", RUN, RECIPES / script, *arguments]
    return subprocess.run([str(each) for each in command], capture_output=True, text=True)


def embeddings(output, images):
    assert output.returncode == 0, output.stderr
    lines = [json.loads(line) for line in output.stdout.splitlines()]
    assert [line["image"] for line in lines] == [str(path) for path in images]
    return np.array([line["embedding"] for line in lines])


@pytest.mark.parametrize("input_dtype", ["float32", "uint8"])
@pytest.mark.parametrize("batch_size", [None, 1, 3])
def test_tflite(model, images, expected, tmp_path, input_dtype, batch_size):
    path = to_tflite(
        model,
        tmp_path / "model.tflite",
        input_dtype=input_dtype,
        batch_size=batch_size,
        crop_fraction=CROP_FRACTION,
    )
    found = embeddings(run("tflite/embed_image.py", path, *images), images)
    # Pillow rounds the resized pixels to whole numbers.
    assert (found * expected).sum(axis=1).min() > 0.9999


def test_onnx(model, images, expected, tmp_path):
    path = to_onnx(model, tmp_path / "model.onnx", crop_fraction=CROP_FRACTION)
    found = embeddings(run("onnx/embed_image.py", path, *images), images)
    assert (found * expected).sum(axis=1).min() > 0.9999


@pytest.mark.parametrize("script", ["tflite/embed_image.py", "onnx/embed_image.py"])
def test_what_cannot_be_read_is_a_message(model, images, tmp_path, script):
    kind = script.split("/")[0]
    path = {"tflite": to_tflite, "onnx": to_onnx}[kind](model, tmp_path / f"model.{kind}")
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    output = run(script, path, images[0], tmp_path / "bad.jpg")
    assert output.returncode == 1
    assert "error: cannot identify image file" in output.stderr
    assert "Traceback" not in output.stderr
    (tmp_path / "broken.tflite").write_bytes(b"no model")
    (tmp_path / "broken.tflite.json").write_text(Path(f"{path}.json").read_text())
    if kind == "tflite":
        output = run(script, tmp_path / "broken.tflite", images[0])
        assert output.returncode == 1 and "Traceback" not in output.stderr
    output = run(script, tmp_path / "other.tflite", images[0])
    assert output.returncode == 1 and "other.tflite.json" in output.stderr
