"""A model that another backend trained: opened in a new process, and used by TensorFlow's commands.

The last test needs TensorFlow and JAX; the others need the backend that is set.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
BACKEND = keras.backend.backend()

TRAIN = """
import sys
import keras
import numpy as np
import pa_keras
from pa_keras.training import two_rate_adamw

folder = sys.argv[1]
with np.load(folder + "/data.npz") as data:
    images, labels = data["images"], data["labels"]
keras.utils.set_random_seed(0)
model = pa_keras.with_proxies(pa_keras.embedding_model("conv4", 8, (16, 16), weights=None), 10)
model.compile(two_rate_adamw(model, 1e-3, 1e-1), pa_keras.ProxyAnchorLoss())
recall = pa_keras.RecallAtK((images, labels), ks=1)
best = keras.callbacks.ModelCheckpoint(
    folder + "/training.keras", "recall_at_1", mode="max", save_best_only=True
)
model.fit(images, labels, batch_size=30, epochs=3, verbose=0, callbacks=[recall, best])
vectors = pa_keras.evaluation.embed(pa_keras.load_model(folder + "/training.keras"), [images])
np.save(folder + "/vectors.npy", vectors)
"""

OPEN = """
import sys
{first}
import keras
try:
    model = {load}({file!r})
    print(type(model.layers[-1]).__name__)
except Exception as error:
    print(" ".join(str(error).split()))
"""


def run(backend, *arguments):
    """What a process of another backend prints."""
    result = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def training_file(tmp_path_factory):
    from pa_keras import embedding_model, with_proxies

    file = tmp_path_factory.mktemp("model") / "training.keras"
    with_proxies(embedding_model("conv4", 8, (16, 16), weights=None), 3).save(file)
    return str(file)


# Keras 3.15 saves variables of TensorFlow in a way that NumPy 2 deprecates.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy")
@pytest.mark.parametrize(
    ("first", "load", "expected"),
    [
        ("", "keras.saving.load_model", "Could not locate class 'Proxies'"),
        ("import pa_keras.layers", "keras.saving.load_model", "Proxies\n"),
        ("import pa_keras", "pa_keras.load_model", "UnitNormalization\n"),
    ],
)
def test_a_file_with_proxies_in_a_new_process(training_file, first, load, expected):
    found = run(BACKEND, "-c", OPEN.format(first=first, load=load, file=training_file))
    assert expected in found


@pytest.mark.large
@pytest.mark.skipif(BACKEND != "tensorflow", reason="the commands need the TensorFlow backend")
@pytest.mark.parametrize("trainer", ["jax", "torch"])
def test_a_model_of_another_backend_in_the_commands(
    trainer, photos, tmp_path, capsys, float32_policy
):
    if importlib.util.find_spec(trainer) is None:
        pytest.skip(f"{trainer} is not installed")
    from pa_keras import evaluate, export, search
    from pa_keras.exporters import load_artefact
    from pa_keras.pipelines import evaluation_batches

    files = sorted(photos.rglob("*.png"))
    paths = [str(file) for file in files]
    (batch,) = evaluation_batches(paths, batch_size=60, image_size=(16, 16), crop_fraction=0.875)
    np.savez(tmp_path / "data.npz", images=batch, labels=np.repeat(np.arange(10), 6))
    run(trainer, "-c", TRAIN, tmp_path)
    trained = np.load(tmp_path / "vectors.npy")

    model = f"--model={tmp_path / 'training.keras'}"
    data = ["--dataset=folder", f"--data-dir={photos}", "--test-fraction=1"]
    evaluate.main([model, *data, f"--json={tmp_path / 'result.json'}"])
    assert 0 < json.loads((tmp_path / "result.json").read_text())["metrics"]["recall_at_1"] <= 1
    index = f"--index={tmp_path / 'index'}"
    search.main(["build", model, f"--gallery={photos}", index])
    capsys.readouterr()
    search.main(["query", str(photos / "class 3" / "0.png"), index])
    assert "class 3/0.png" in capsys.readouterr().out
    export.main([model, *data, f"--out={tmp_path / 'export'}", "--name=a"])
    exported = load_artefact(tmp_path / "export" / "a" / "1", "saved_model")
    found = exported.embed(np.array([file.read_bytes() for file in files]))
    np.testing.assert_allclose(found, trained, atol=1e-5)
