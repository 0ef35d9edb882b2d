"""export/saved_model/embed_folder.py in a separate process, without Keras and pa_keras."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pa_keras.exporters import to_saved_model
from pa_keras.models import embedding_model

SCRIPT = Path(__file__).parents[2] / "export" / "saved_model" / "embed_folder.py"
# Runs the script as __main__ in a process that cannot import what its users do not have.
RUN = """
import runpy, sys
for name in ("keras", "pa_keras"):
    sys.modules[name] = None  # importing it fails
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def model():
    return embedding_model("conv4", 3, (20, 20), weights=None, seed=0)


@pytest.fixture(scope="module")
def saved_model(model, tmp_path_factory):
    return to_saved_model(model, tmp_path_factory.mktemp("model") / "1", crop_fraction=1.0)


def run(*arguments):
    command = [sys.executable, "-c", RUN, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_embeds_a_folder(model, saved_model, photos, tmp_path):
    out = tmp_path / "embeddings.npz"
    output = run(saved_model, photos, out, "--batch-size", 7)
    assert output.returncode == 0, output.stderr
    assert "60 embeddings of 3 numbers" in output.stdout
    with np.load(out) as found:
        embeddings, paths = found["embeddings"], found["paths"]
    assert paths.tolist() == sorted(f"class {c}/{i}.png" for c in range(10) for i in range(6))
    assert embeddings.dtype == np.float32
    pixels = [np.asarray(Image.open(photos / str(path)))[:, 2:22] for path in paths]  # the centre
    expected = model(np.stack(pixels).astype("float32"), training=False)
    np.testing.assert_allclose(embeddings, expected, atol=1e-5)


def test_names_the_file_that_is_no_image(saved_model, photos, tmp_path):
    (photos / "bad.png").write_bytes(b"no image")
    output = run(saved_model, photos, tmp_path / "out.npz")
    assert output.returncode == 1
    assert f"cannot read {photos / 'bad.png'}. Remove" in output.stderr
    assert not (tmp_path / "out.npz").exists()


def test_a_batch_size_below_one(saved_model, photos, tmp_path):
    output = run(saved_model, photos, tmp_path / "out.npz", "--batch-size", 0)
    assert output.returncode == 1
    assert "error: expected --batch-size of 1 or more; received 0" in output.stderr
