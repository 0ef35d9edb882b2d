"""Exports in the C++ loader of TensorFlow, as in a server, without TensorFlow or Keras in Python.

The process must survive every bad request: it runs the jobs of a file one after another.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pa_keras.exporters import Gallery, to_saved_model, write_warmup
from pa_keras.exporters.warmup import WARMUP_FILE, placeholder_image, read_signatures

LIBRARY = Path(tf.sysconfig.get_lib()) / "libtensorflow_cc.so.2"
pytestmark = pytest.mark.skipif(not LIBRARY.exists(), reason=f"no {LIBRARY.name} in the wheel")


@pytest.fixture(scope="module")
def saved_model(model, scenes, tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "1"
    embeddings = model(scenes, training=False).numpy()
    gallery = Gallery(
        embeddings, [f"{i}.é" for i in range(12)], np.arange(12) // 3, list("abcd"), "int8"
    )
    return to_saved_model(model, path, gallery=gallery, k=3)


@pytest.fixture(scope="module")
def expected(saved_model):
    return tf.saved_model.load(saved_model)


class Jobs:
    """Runs requests to the signatures in one process without Keras."""

    def __init__(self, saved_model, folder):
        self.saved_model, self.folder, self.jobs = saved_model, folder, []
        self.signatures = read_signatures(saved_model)

    def add(self, signature, **inputs):
        definition = self.signatures[signature]
        number = len(self.jobs)
        feeds = {}
        for name, value in inputs.items():
            feeds[definition.inputs[name].name] = self.written(f"{number}-{name}", value)
        fetches = {name: info.name for name, info in definition.outputs.items()}
        self.jobs.append({"feeds": feeds, "fetches": fetches})

    def written(self, name, value):
        if isinstance(value, np.ndarray):
            np.save(self.folder / f"{name}.npy", value)
            return str(self.folder / f"{name}.npy")
        paths = [self.folder / f"{name}-{row}" for row in range(len(value))]
        for path, content in zip(paths, value, strict=True):
            path.write_bytes(content)
        return [str(path) for path in paths]

    def run(self):
        jobs, results = self.folder / "jobs.json", self.folder / "results.json"
        jobs.write_text(json.dumps(self.jobs))
        script = Path(__file__).with_name("c_api.py")
        command = [sys.executable, script, LIBRARY, self.saved_model, jobs, results]
        done = subprocess.run([str(each) for each in command], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(results.read_text())


@pytest.fixture
def jobs(saved_model, tmp_path):
    return Jobs(saved_model, tmp_path)


def test_every_signature_as_in_python(jobs, expected, image_files, scenes, model):
    contents = list(image_files.values())
    uint8 = scenes.astype("uint8")
    embeddings = model(scenes, training=False).numpy()
    jobs.add("serving_default", image_bytes=contents)
    jobs.add("pixels_uint8", pixels=uint8)
    jobs.add("pixels_float32", pixels=scenes)
    jobs.add("neighbours_of_images", image_bytes=contents)
    jobs.add("neighbours_of_embeddings", embedding=embeddings)
    of_bytes, of_uint8, of_float32, near_images, near_embeddings = jobs.run()
    inputs = tf.constant(contents)
    embedding = expected.signatures["serving_default"](image_bytes=inputs)["embedding"]
    np.testing.assert_allclose(of_bytes["embedding"], embedding, atol=1e-5)
    np.testing.assert_allclose(of_uint8["embedding"], embeddings, atol=1e-5)
    np.testing.assert_allclose(of_float32["embedding"], embeddings, atol=1e-5)
    answer = expected.signatures["neighbours_of_images"](image_bytes=inputs)
    assert near_images["ids"] == [[each.decode() for each in row] for row in answer["ids"].numpy()]
    np.testing.assert_allclose(near_images["similarities"], answer["similarities"], atol=1e-5)
    assert [row[0] for row in near_embeddings["ids"]] == [f"{i}.é" for i in range(12)]
    assert [row[0] for row in near_embeddings["labels"]] == sorted(3 * "abcd")


def test_bad_requests_are_errors_and_the_process_lives_on(jobs, image_files, scenes):
    jpeg, png = image_files["jpeg"], image_files["png"]
    bad = {
        "no image": [b"no image"],
        "empty": [b""],
        "truncated": [jpeg[: len(jpeg) // 2]],
        "a good one and a bad one": [jpeg, png[:50]],
        "none": [],
    }
    for contents in bad.values():
        jobs.add("serving_default", image_bytes=contents)
    jobs.add("neighbours_of_images", image_bytes=[b"no image"])
    jobs.add("neighbours_of_embeddings", embedding=np.zeros((2, 15), "float32"))
    jobs.add("neighbours_of_embeddings", embedding=np.full((2, 16), np.nan, "float32"))
    jobs.add("pixels_uint8", pixels=np.zeros((1, 40, 48, 1), "uint8"))
    jobs.add("pixels_uint8", pixels=np.zeros((0, 40, 48, 3), "uint8"))
    jobs.add("serving_default", image_bytes=[jpeg])
    *refused, answer = jobs.run()
    assert all(set(each) == {"error"} for each in refused), refused
    assert "batch of 1 or more" in refused[4]["error"]
    assert "finite" in refused[7]["error"]
    np.testing.assert_allclose(np.linalg.norm(answer["embedding"], axis=1), 1, atol=1e-5)


def test_warm_up_records_replay(saved_model, jobs):
    """Reads each record as a PredictRequest, for every signature and batch size."""
    from tensorflow_serving.apis import prediction_log_pb2

    write_warmup(saved_model, "cars", [placeholder_image((40, 48))], (1, 4), image_size=(40, 48))
    played = set()
    for record in tf.data.TFRecordDataset(str(saved_model / WARMUP_FILE)):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        request = log.predict_log.request
        inputs = {name: tf.make_ndarray(each) for name, each in request.inputs.items()}
        size = len(next(iter(inputs.values())))
        rows = {k: v.tolist() if v.dtype == object else v for k, v in inputs.items()}
        jobs.add(request.model_spec.signature_name, **rows)
        played.add((request.model_spec.signature_name, size))
    assert played == {(name, size) for name in jobs.signatures for size in (1, 4)}
    answers = jobs.run()
    assert not [each for each in answers if "error" in each]
    assert sorted({len(next(iter(each.values()))) for each in answers}) == [1, 4]
