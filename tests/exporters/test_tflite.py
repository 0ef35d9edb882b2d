"""TFLite files in the LiteRT interpreter, compared with Keras."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from pa_keras.exporters import load_artefact, to_tflite

QUANTIZATIONS = ("none", "float16", "dynamic", "int8")


@pytest.fixture(scope="module")
def exported(model, scenes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tflite")
    return {
        each: to_tflite(
            model,
            folder / f"{each}.tflite",
            quantization=each,
            calibration_images=scenes if each == "int8" else None,
        )
        for each in QUANTIZATIONS
    }


def cosines(a, b):
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@pytest.mark.parametrize(
    ("quantization", "least"),
    [("none", 1 - 1e-6), ("float16", 0.9999), ("dynamic", 0.99), ("int8", 0.98)],
)
def test_agrees_with_keras(exported, model, scenes, quantization, least):
    artefact = load_artefact(exported[quantization], "tflite")
    expected = model(scenes, training=False).numpy()
    for number in (12, 1, 5):  # any batch size, one after another
        found = artefact.embed(scenes[:number])
        assert (found.dtype, found.shape) == (np.float32, (number, 16))
        assert cosines(found, expected[:number]).min() > least


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_embeddings_are_of_unit_length(exported, scenes, quantization):
    found = load_artefact(exported[quantization], "tflite").embed(scenes)
    np.testing.assert_allclose(
        np.linalg.norm(found, axis=1), 1, atol=1e-3 if quantization == "float16" else 1e-5
    )


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
def test_builtin_operations_alone(exported, quantization):
    interpreter = Interpreter(
        str(exported[quantization]), experimental_op_resolver_type=OpResolverType.BUILTIN_REF
    )
    interpreter.allocate_tensors()
    names = {each["op_name"] for each in interpreter._get_ops_details()}
    assert not [name for name in names if name.startswith(("Flex", "CUSTOM"))], names
    assert ("CONV_2D" in names) and interpreter.get_input_details()[0]["name"]


def test_sizes(exported):
    sizes = {each: path.stat().st_size for each, path in exported.items()}
    assert sizes["float16"] <= 0.51 * sizes["none"]
    assert sizes["int8"] <= 0.30 * sizes["none"]
    assert sizes["dynamic"] <= 0.30 * sizes["none"]


def test_weights_and_activations_are_int8(exported):
    interpreter = Interpreter(str(exported["int8"]))
    dtypes = [each["dtype"] for each in interpreter.get_tensor_details()]
    assert sum(dtype == np.int8 for dtype in dtypes) > 10
    convolutions = [o for o in interpreter._get_ops_details() if o["op_name"] == "CONV_2D"]
    of = {each["index"]: each["dtype"] for each in interpreter.get_tensor_details()}
    assert {of[o["outputs"][0]] for o in convolutions} == {np.int8}
    assert {of[o["inputs"][1]] for o in convolutions} == {np.int8}


@pytest.mark.parametrize("quantization", QUANTIZATIONS)
@pytest.mark.parametrize("batch_size", [1, 4])
def test_fixed_batch_and_bytes(model, scenes, tmp_path, quantization, batch_size):
    path = to_tflite(
        model,
        tmp_path / "a.tflite",
        quantization=quantization,
        calibration_images=scenes if quantization == "int8" else None,
        input_dtype="uint8",
        batch_size=batch_size,
        crop_fraction=0.9,
    )
    (entry,) = Interpreter(str(path)).get_input_details()
    assert (entry["dtype"], entry["shape_signature"].tolist()) == (
        np.uint8, [batch_size, 40, 48, 3],
    )  # fmt: skip
    found = load_artefact(path, "tflite").embed(scenes[:7])
    assert cosines(found, model(scenes[:7], training=False).numpy()).min() > 0.98
    sidecar = json.loads((tmp_path / "a.tflite.json").read_text())
    assert sidecar["input"]["shape"] == [batch_size, 40, 48, 3]
    assert (sidecar["input"]["dtype"], sidecar["input"]["range"]) == ("uint8", [0, 255])
    assert sidecar["input"]["crop_fraction"] == 0.9
    assert sidecar["output"]["shape"] == [batch_size, 16]


def test_an_operation_that_tflite_does_not_have(tmp_path):
    images = keras.Input((8, 8, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(images)
    model = keras.Model(images, keras.layers.Lambda(lambda x: tf.math.digamma(x))(pooled))
    with pytest.raises(ValueError, match="Expected a network of TFLite's builtin operations"):
        to_tflite(model, tmp_path / "a.tflite")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantization": "int4"}, "none, float16, dynamic, int8; received 'int4'"),
        ({"quantization": "int8"}, "received none for 'int8'"),
        ({"calibration_images": [np.zeros((40, 48, 3))]}, "received some for 'none'"),
        ({"batch_size": 0}, "batch_size of 1 or more, or None; received 0"),
        ({"input_dtype": "int8"}, "float32 or uint8; received 'int8'"),
        ({"quantization": "int8", "calibration_images": []}, "for a batch of 1; received 0"),
        (
            {"quantization": "int8", "calibration_images": [np.zeros(9)], "batch_size": 2},
            "for a batch of 2; received 1",
        ),
    ],
)
def test_refused(model, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        to_tflite(model, tmp_path / "a.tflite", **options)
    assert not list(tmp_path.iterdir())
