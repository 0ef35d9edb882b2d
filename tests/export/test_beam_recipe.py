"""export/beam/embed_list.py in a separate process, on the local runner of Beam."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pa_keras import search
from pa_keras.evaluation.evaluate import embed_dataset_images
from pa_keras.exporters import to_saved_model
from pa_keras.index import read_parquet
from pa_keras.models import embedding_model

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("apache_beam") is None,
    reason='Apache Beam is not installed: pip install "pa_keras[beam]"',
)
SCRIPT = Path(__file__).parents[2] / "export" / "beam" / "embed_list.py"
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


def test_the_vectors_are_those_of_embed(model, saved_model, photos, tmp_path):
    from pa_keras.datasets import images_at

    images = images_at(photos)
    rows = [
        f"{Path(path).relative_to(photos)},{images.class_names[label]}"
        for path, label in zip(images.paths, images.labels, strict=True)
    ]
    (photos / "list.csv").write_text("\n".join(["path,label", *rows, ""]))
    output = run(photos / "list.csv", saved_model, tmp_path / "out", "--batch-size", 7)
    assert output.returncode == 0, output.stderr
    items, record = read_parquet(tmp_path / "out")
    assert record is None
    ids = [row.split(",")[0] for row in rows]
    assert sorted(items.ids) == sorted(ids)
    order = [items.ids.index(name) for name in ids]
    assert [items.label_of(row) for row in order] == [row.split(",")[1] for row in rows]
    expected = embed_dataset_images(model, images, crop_fraction=1.0, progress=False)
    np.testing.assert_allclose(items.embeddings[order], expected, atol=1e-5)


def test_a_list_of_paths_can_be_searched(model, saved_model, photos, tmp_path, capsys):
    files = sorted(photos.rglob("*.png"))
    (tmp_path / "list.txt").write_text("".join(f"{file}\n" for file in files))
    output = run(tmp_path / "list.txt", saved_model, tmp_path / "out")
    assert output.returncode == 0, output.stderr
    model.save(tmp_path / "model.keras")
    arguments = ["--model", tmp_path / "model.keras", "--crop-fraction", "1.0", "--gallery"]
    search.main(["build", *map(str, arguments), str(tmp_path / "out"), f"--index={tmp_path}/i"])
    search.main(["query", f"--index={tmp_path}/i", str(files[7]), "-k", "1"])
    assert f"  1      1.0000         {files[7]}\n" in capsys.readouterr().out
    embedding_model("conv4", 3, (20, 20), weights=None, seed=9).save(tmp_path / "model.keras")
    with pytest.raises(SystemExit) as stopped:
        search.main(["build", *map(str, arguments), str(tmp_path / "out"), f"--index={tmp_path}/j"])
    assert "Give the model that made them" in str(stopped.value.code)


def test_a_file_that_is_no_image(saved_model, photos, tmp_path):
    (photos / "bad.png").write_bytes(b"no image")
    Image.new("RGB", (30, 20)).save(photos / "good.png")
    (photos / "list.txt").write_text("bad.png\ngood.png\n")
    output = run(photos / "list.txt", saved_model, tmp_path / "out")
    assert output.returncode == 1
    assert "cannot read bad.png. Remove it, or give --on-bad-image skip" in output.stderr
    output = run(photos / "list.txt", saved_model, tmp_path / "out", "--on-bad-image=skip")
    assert output.returncode == 0, output.stderr
    assert read_parquet(tmp_path / "out")[0].ids == ["good.png"]
    skipped = "".join(file.read_text() for file in (tmp_path / "out").glob("skipped*.txt"))
    assert skipped == "bad.png\n"
