"""Errors for a model or a run that cannot be loaded."""

import zipfile

import keras
import numpy as np
import pytest

from pa_keras import embed, evaluate, export, load_model, search
from pa_keras.layers import CrossBatchMemory, Proxies
from pa_keras.models import all_layers, embedding_model, with_memory, with_proxies
from pa_keras.runs.load import load_trained


class Own(keras.layers.Layer):
    """A layer that the package does not register."""

    def call(self, inputs):
        return inputs


@pytest.fixture
def folder(tmp_path):
    """A run that was stopped early, and files that are not models."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("dataset: folder")
    (tmp_path / "empty.keras").touch()
    (tmp_path / "text.h5").write_text("no")
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as archive:
        archive.writestr("a", "b")
    images = keras.Input((8, 8, 3))
    keras.Model(images, Own()(keras.layers.Flatten()(images))).save(tmp_path / "own.keras")
    keras.Model(images, images).save(tmp_path / "images.keras")
    return tmp_path


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        ("missing.keras", FileNotFoundError, r"--model .* no file .*missing.keras. Check its path"),
        ("run", FileNotFoundError, "--model .* is a folder. Give that run: --run .*run"),
        (".", FileNotFoundError, "is a folder. Give the .keras file itself"),
        ("empty.keras", ValueError, "empty.keras, of 0 bytes, is not: it is not a zip archive"),
        ("other.keras", ValueError, "no item named 'config.json' .* may be damaged"),
        ("text.h5", ValueError, "can load; .*text.h5, of 2 bytes, is not: "),
        ("own.keras", ValueError, "is not: Could not locate class 'Own'"),
        ("images.keras", ValueError, r"to embeddings \(batch, D\); received \(None, 8, 8, 3\)"),
    ],
)
def test_a_file_that_is_no_model(folder, model, error, message, monkeypatch):
    objects = keras.saving.get_custom_objects()
    for name in [name for name in objects if name.endswith("Own")]:
        monkeypatch.delitem(objects, name)
    with pytest.raises(error, match=message) as raised:
        load_trained(None, str(folder / model))
    assert "--resume" not in str(raised.value)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        (
            "dataset: folder",
            FileNotFoundError,
            "best.keras; there is no such file.* continue it with --resume",
        ),
        ("", ValueError, "settings of a run in .*config.yaml; received an empty file"),
        ("[1]", ValueError, r"received \[1\]. If you have its model"),
        ("a: [", ValueError, "received while parsing"),
    ],
)
def test_a_run_without_a_model_or_with_damaged_settings(folder, settings, error, message):
    (folder / "run" / "config.yaml").write_text(settings)
    with pytest.raises(error, match=message):
        load_trained(str(folder / "run"), None)


def test_what_is_no_run(folder):
    for name, message in [
        ("nope", "'.*nope', which does not exist"),
        ("empty.keras", "a file: give a model by --model"),
        (".", "which has none"),
    ]:
        with pytest.raises(FileNotFoundError, match=f"folder of a run, with its .* {message}"):
            load_trained(str(folder / name), None)


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (evaluate, ["--dataset=glyphs"]),
        (embed, ["--images=.", "--out=new.npz"]),
        (export, ["--out=exports", "--dataset=glyphs", "--name=a"]),
        (search, ["build", "--gallery=.", "--index=index"]),
    ],
)
def test_every_command_says_it_in_a_line(folder, monkeypatch, command, arguments):
    monkeypatch.chdir(folder)
    for given, message in [
        ("--model=missing.keras", "there is no file missing.keras"),
        ("--model=empty.keras", "of 0 bytes, is not"),
        ("--run=nope", "'nope', which does not exist"),
        ("--run=empty.keras", "a file: give a model by --model"),
    ]:
        with pytest.raises(SystemExit, match=f"^error: Expected .*{message}"):
            command.main([*arguments, given])


def test_a_model_of_a_file(tmp_path):
    embedding_model("conv4", 8, (16, 16), weights=None).save(tmp_path / "model.keras")
    model, settings = load_trained(None, str(tmp_path / "model.keras"))
    assert model.output_shape == (None, 8) and settings == {}


def test_load_model_takes_a_run_or_a_file(folder):
    embedder = embedding_model("conv4", 8, (16, 16), weights=None)
    embedder.save(folder / "run" / "best.keras")
    (folder / "run" / "config.yaml").write_text("data: {crop_fraction: 0.5}")
    for path in (folder / "run", str(folder / "run")):
        model = load_model(path)
        assert model.crop_fraction == 0.5 and model.output_shape == (None, 8)
    embedder.save(folder / "alone.keras")
    assert load_model(folder / "alone.keras").crop_fraction == 0.875


def test_load_model_computes_in_float32(folder):
    images = keras.Input((4, 4, 3))
    pooled = keras.layers.GlobalAveragePooling2D(dtype="mixed_bfloat16")(images)
    keras.Model(images, pooled).save(folder / "mixed.keras")
    assert load_model(folder / "mixed.keras").output.dtype == "float32"


def test_load_model_says_what_to_do(folder):
    for name, error, message in [
        ("missing", FileNotFoundError, "run, or a .keras file; there is no .*missing. Check"),
        (".", FileNotFoundError, "folder of a run, .* which has none"),
        ("run", FileNotFoundError, "best.keras; there is no such file"),
        ("empty.keras", ValueError, "empty.keras, of 0 bytes, is not"),
    ]:
        with pytest.raises(error, match=message):
            load_model(folder / name)


def in_a_graph(embedder):
    """Proxies on layers of the same graph, which is what users write without `with_proxies`."""
    return keras.Model(embedder.input, Proxies(3)(embedder.output))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: with_proxies(model, 3),
        lambda model: with_proxies(model, 3, centers_per_class=2),
        lambda model: with_memory(model, 16),
        in_a_graph,
    ],
)
def test_the_embedding_model_of_a_model_to_train(folder, wrap):
    embedder = embedding_model("conv4", 8, (16, 16), weights=None)
    wrap(embedder).save(folder / "training.keras")
    model = load_model(folder / "training.keras")
    images = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 3)).astype("float32")
    np.testing.assert_allclose(model(images), embedder(images), rtol=1e-6)
    known = (Proxies, CrossBatchMemory)
    assert not any(isinstance(layer, known) for layer in all_layers(model))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (lambda images: images / 255 - 0.5, lambda embeddings: embeddings),
        (lambda images: keras.ops.flip(images, -1), lambda embeddings: embeddings),
        (lambda images: images, lambda x: keras.ops.normalize(keras.ops.relu(x))),
    ],
)
def test_operations_around_the_embedding_model_are_kept(folder, before, after):
    inner = embedding_model("conv4", 8, (16, 16), weights=None)
    given = keras.Input((16, 16, 3))
    embeddings = after(inner(before(given)))
    keras.Model(given, Proxies(3)(embeddings)).save(folder / "training.keras")
    images = np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 3)).astype("float32")
    expected = keras.Model(given, embeddings)(images)
    loaded = load_model(folder / "training.keras")
    np.testing.assert_allclose(loaded(images), expected, rtol=1e-5, atol=1e-6)
