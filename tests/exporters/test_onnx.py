"""ONNX files in onnxruntime, beside Keras."""

import json

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


def test_refused(model, tmp_path):
    with pytest.raises(ValueError, match="batch_size of 1"):
        to_onnx(model, tmp_path / "a.onnx", batch_size=0)
    with pytest.raises(ValueError, match="with proxies"):
        to_onnx(with_proxies(model, 3), tmp_path / "a.onnx")
