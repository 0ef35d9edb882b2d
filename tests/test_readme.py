"""The quick start of the README, run unchanged on fewer letters."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from pa_keras import datasets, embedding_model, search
from pa_keras.datasets.glyphs import load_glyphs

README = Path(__file__).parent.parent / "README.md"


def python_blocks():
    return re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


@pytest.fixture
def quick_start():
    return python_blocks()[0]


def test_the_quick_start_is_short(quick_start):
    assert len(quick_start.splitlines()) <= 15


def test_the_quick_start_runs(quick_start, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PA_KERAS_HOME", str(tmp_path))
    few = load_glyphs(num_characters=24, images_per_character=12)
    monkeypatch.setattr(datasets, "load", lambda name: few)
    names = {}
    exec(quick_start, names)
    history = names["model"].history.history
    assert history["loss"][-1] < history["loss"][0]
    assert 0 < history["recall_at_1"][-1] <= 1
    embedder = keras.saving.load_model("embedder.keras")
    lengths = np.linalg.norm(embedder.predict(np.zeros((2, 32, 32, 3)), verbose=0), axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-5)


def test_the_images_in_python_are_embedded_and_found(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "runs" / "photos"
    run.mkdir(parents=True)
    embedding_model("conv4", 8, (20, 20), weights=None).save(run / "best.keras")
    (run / "config.yaml").write_text("data: {crop_fraction: 1.0}")
    search.main(["build", "--run", "runs/photos", "--gallery", "photos", "--index", "photos.index"])
    for name in ("new.jpg", "other.jpg"):
        Image.effect_noise((90, 60), 50).save(name)
    names = {}
    exec(python_blocks()[1], names)
    assert names["vectors"].shape == (2, 8)
    assert len(names["ids"][0]) == 4 and names["cosines"].shape == (1, 4)


def test_links_lead_somewhere():
    text = README.read_text()
    assert "@@" not in text
    for link in re.findall(r"\]\((?!http)([^)]+)\)", text) + re.findall(r'src="([^"]+)"', text):
        assert (README.parent / link.partition("#")[0]).exists(), link
