"""ONNX files in onnxruntime, compared with Keras."""

import json

import keras
import numpy as np
import onnx
import onnxruntime
import pytest

from pa_keras.exporters import load_artefact, to_onnx
from pa_keras.models import with_proxies


def test_agrees_with_keras(model, scenes, tmp_path):
    path = to_onnx(model, tmp_path / "a.onnx", crop_fraction=0.9)
    onnx.checker.check_model(str(path), full_check=True)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    expected = model(scenes, training=False).numpy()
    for number in (1, 12):
        (found,) = session.run(["embedding"], {"images": scenes[:number]})
        np.testing.assert_allclose(found, expected[:number], atol=1e-5)
    np.testing.assert_allclose(load_artefact(path, "onnx").embed(scenes), expected, atol=1e-5)
    sidecar = json.loads((tmp_path / "a.onnx.json").read_text())
    assert sidecar["input"]["shape"] == [None, 40, 48, 3]
    assert sidecar["input"]["crop_fraction"] == 0.9


def test_fixed_batch(model, scenes, tmp_path):
    path = to_onnx(model, tmp_path / "a.onnx", batch_size=2)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == [2, 40, 48, 3]
    assert session.run(None, {"images": scenes[:2]})[0].shape == (2, 16)


def model_with(layer):
    images = keras.Input((8, 8, 3))
    features = keras.layers.Conv2D(6, 3)(layer(images))
    pooled = keras.layers.GlobalAveragePooling2D()(features)
    return keras.Model(images, keras.layers.UnitNormalization()(pooled))


def test_constants_of_a_layer_are_no_inputs(tmp_path):
    model = model_with(keras.layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[4.0, 5.0, 6.0]))
    images = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3)).astype("float32")
    path = to_onnx(model, tmp_path / "a.onnx")
    expected = model(images, training=False).numpy()
    np.testing.assert_allclose(load_artefact(path, "onnx").embed(images), expected, atol=1e-5)


def test_an_operation_that_onnx_does_not_have(tmp_path):
    # Keras runs grouped convolutions in a separate function, which tf2onnx cannot convert.
    grouped = keras.layers.Conv2D(6, 3, groups=3)
    with pytest.raises(ValueError, match=r"operations that ONNX has; .*StatefulPartitionedCall"):
        to_onnx(model_with(grouped), tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


def test_refused(model, tmp_path):
    with pytest.raises(ValueError, match="batch_size of 1"):
        to_onnx(model, tmp_path / "a.onnx", batch_size=0)
    with pytest.raises(ValueError, match="with proxies"):
        to_onnx(with_proxies(model, 3), tmp_path / "a.onnx")
