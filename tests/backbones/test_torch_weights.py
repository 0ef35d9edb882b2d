"""Loads the weights of PyTorch files, names tensors that do not fit, and finds published files."""

import hashlib
import re

import keras
import numpy as np
import pytest
from keras import layers

from pa_keras import backbones
from pa_keras.backbones import torch_files, torch_weights
from pa_keras.backbones.torch_layers import even, max_pooling


@pytest.fixture
def network():
    keras.utils.set_random_seed(0)
    images = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="stem.conv")(images)
    x = layers.BatchNormalization(name="stem.bn")(x)
    x = layers.DepthwiseConv2D(3, name="depthwise")(x)
    return keras.Model(images, x)


@pytest.fixture
def tensors():
    """Tensors with PyTorch's names and axis order: output, input, height, width."""
    rng = np.random.default_rng(0)
    shapes = {
        "stem.conv.weight": (4, 3, 3, 3),
        "stem.conv.bias": (4,),
        "stem.bn.weight": (4,),
        "stem.bn.bias": (4,),
        "stem.bn.running_mean": (4,),
        "stem.bn.running_var": (4,),
        "stem.bn.num_batches_tracked": (),
        "depthwise.weight": (4, 1, 3, 3),
        "depthwise.bias": (4,),
        "fc.weight": (1000, 4),
        "aux1.conv.weight": (1, 1, 1, 1),
    }
    return {name: rng.normal(size=shape).astype("float32") for name, shape in shapes.items()}


@pytest.fixture
def load(network, tensors, monkeypatch, tmp_path):
    monkeypatch.setattr(torch_files, "read_tensors", lambda path: tensors)
    places = torch_weights.slots_by_layer_names(network)
    return lambda: torch_weights.load(tmp_path / "file.pth", places)


def test_each_tensor_comes_to_its_place_with_its_axes(load, network, tensors):
    load()
    kernel, bias = network.get_layer("stem.conv").get_weights()
    assert kernel[2, 1, 0, 3] == tensors["stem.conv.weight"][3, 0, 2, 1]
    np.testing.assert_array_equal(bias, tensors["stem.conv.bias"])
    for value, name in zip(
        network.get_layer("stem.bn").get_weights(),
        ("weight", "bias", "running_mean", "running_var"),
        strict=True,
    ):
        np.testing.assert_array_equal(value, tensors[f"stem.bn.{name}"])
    kernel = network.get_layer("depthwise").get_weights()[0]
    assert kernel[2, 1, 3, 0] == tensors["depthwise.weight"][3, 0, 2, 1]


def test_batch_norms_of_old_files_are_rows(load, network, tensors):
    mean = tensors["stem.bn.running_mean"]
    tensors["stem.bn.running_mean"] = mean[None]
    load()
    np.testing.assert_array_equal(network.get_layer("stem.bn").moving_mean, mean)


def test_faults_are_named_and_nothing_is_changed(load, network, tensors):
    before = network.get_weights()
    tensors["surprise.weight"] = tensors.pop("stem.conv.bias")
    tensors["stem.bn.weight"] = np.zeros(5, "float32")
    tensors["stem.conv.weight"] = tensors["stem.conv.weight"].swapaxes(0, 1)
    with pytest.raises(ValueError, match="Expected the 8 tensors of this network") as raised:
        load()
    assert "1 missing: stem.conv.bias; 1 surplus: surprise.weight; 2 misshapen: " in str(
        raised.value
    )
    assert "stem.bn.weight of shape (5,) instead of (4,)" in str(raised.value)
    for old, new in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_of_another_networks_tensors_twenty_are_named(load, tensors):
    tensors |= {f"other.{i:02}": np.zeros(1) for i in range(25)}
    with pytest.raises(ValueError, match=r"25 surplus: other.00, .*other.19 and 5 more\. Choose"):
        load()


@pytest.fixture
def published(monkeypatch):
    """Other weights, published under a name with their hash."""
    content = b"weights"
    file = f"bn_inception-{hashlib.sha256(content).hexdigest()[:9]}.pth"
    address = f"https://publisher/{file}"
    monkeypatch.setattr(torch_weights, "IMAGENET_FILES", {"bn_inception": address})
    return file, content


def test_published_weights_are_taken_from_the_own_folder(published, monkeypatch, tmp_path):
    file, content = published
    (tmp_path / "bn_inception").mkdir()
    (tmp_path / "bn_inception" / file).write_bytes(content)
    monkeypatch.setenv("PA_KERAS_WEIGHTS", str(tmp_path))
    assert torch_weights.imagenet_file("bn_inception") == tmp_path / "bn_inception" / file


def test_a_download_goes_to_keras_folder(published, monkeypatch, tmp_path):
    file, content = published
    (tmp_path / file).write_bytes(content)
    address = (tmp_path / file).as_uri()
    (tmp_path / "keras").mkdir()
    monkeypatch.delenv("PA_KERAS_WEIGHTS", raising=False)
    monkeypatch.setattr(torch_weights, "IMAGENET_FILES", {"bn_inception": address})
    fetch = keras.utils.get_file
    monkeypatch.setattr(
        keras.utils, "get_file", lambda *a, **k: fetch(*a, **k, cache_dir=tmp_path / "keras")
    )
    found = torch_weights.imagenet_file("bn_inception")
    assert found == tmp_path / "keras" / "models" / file
    assert found.read_bytes() == content


@pytest.mark.parametrize("where", ["own folder", "download"])
@pytest.mark.parametrize("content", [b"weight", b"weights of somebody else", b""])
def test_a_file_that_was_changed_on_its_way_is_refused(
    published, monkeypatch, tmp_path, content, where
):
    file, _ = published
    path = tmp_path / "bn_inception" / file
    path.parent.mkdir()
    path.write_bytes(content)
    if where == "own folder":
        monkeypatch.setenv("PA_KERAS_WEIGHTS", str(tmp_path))
    else:
        monkeypatch.delenv("PA_KERAS_WEIGHTS", raising=False)
        monkeypatch.setattr(keras.utils, "get_file", lambda *args, **options: str(path))
    digits = file.removesuffix(".pth").partition("-")[2]
    with pytest.raises(ValueError, match=f"begins with {digits}, as its name says.* Delete it"):
        backbones.build("bn_inception", (32, 32), "imagenet")


def test_every_published_file_comes_by_https_and_names_its_hash():
    for address in torch_weights.IMAGENET_FILES.values():
        assert re.fullmatch(r"https://\S+-[0-9a-f]{8,}\.pth", address)


@pytest.mark.parametrize("error", [Exception("URL fetch failure on x: 404"), TimeoutError("slow")])
def test_a_failed_download_says_where_to_put_the_file(error, monkeypatch, tmp_path):
    def fail(*args, **options):
        raise error

    monkeypatch.delenv("PA_KERAS_WEIGHTS", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(keras.utils, "get_file", fail)
    place = tmp_path / "models" / "googlenet-1378be20.pth"
    with pytest.raises(ConnectionError, match=f"put it at {place}, or give its path"):
        backbones.build("googlenet", (32, 32), "imagenet")


def test_published_weights_are_loaded(monkeypatch, tmp_path):
    trained = backbones.build("torch_resnet18", (32, 32), None)
    tensors = {
        name: slot.variable.numpy().transpose(np.argsort(slot.axes))
        for name, slot in torch_weights.slots_by_layer_names(trained).items()
    }
    monkeypatch.setattr(torch_weights, "imagenet_file", lambda name: tmp_path / f"{name}.pth")
    monkeypatch.setattr(torch_files, "read_tensors", lambda path: tensors)
    again = backbones.build("torch_resnet18", (64, 32), "imagenet")
    for ours, theirs in zip(again.get_weights(), trained.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("name", "parameters", "channels"),
    [
        ("bn_inception", 10_270_240, 1024),
        ("googlenet", 5_599_904, 1024),
        ("torch_resnet18", 11_176_512, 512),
        ("torch_resnet34", 21_284_672, 512),
        ("torch_resnet50", 23_508_032, 2048),
        ("torch_resnet101", 42_500_160, 2048),
    ],
)
def test_number_of_parameters(name, parameters, channels):
    network = backbones.build(name, (32, 64), None)
    trained = sum(int(np.prod(v.shape)) for v in network.trainable_variables)
    assert (trained, network.output_shape[-1]) == (parameters, channels)


@pytest.mark.parametrize("side", [2, 3, 4, 5, 8, 9])
@pytest.mark.parametrize("size", [2, 3])
def test_pooling_covers_every_pixel_as_in_ceil_mode(side, size):
    values = np.random.default_rng(side).uniform(size=(1, side, side, 1)).astype("float32")
    pooled = keras.ops.convert_to_numpy(_apply(lambda x: max_pooling(x, "p", size), values))
    count = max(-(-(side - size) // 2), 0) + 1
    expected = [
        [values[0, 2 * i : 2 * i + size, 2 * j : 2 * j + size, 0].max() for j in range(count)]
        for i in range(count)
    ]
    np.testing.assert_array_equal(pooled[0, ..., 0], expected)


def test_an_odd_side_is_made_even():
    assert _apply(lambda x: even(x, "e"), np.zeros((1, 5, 6, 1), "float32")).shape == (1, 6, 6, 1)


@pytest.mark.parametrize("size", [(33, 47), (80, 80), (90, 71)])
def test_bn_inception_takes_any_size(size):
    assert backbones.build("bn_inception", size, None).output_shape[-1] == 1024


def _apply(function, values):
    images = keras.Input(values.shape[1:])
    return keras.Model(images, function(images))(values)


def test_every_network_is_in_the_table():
    assert set(torch_weights.IMAGENET_FILES) <= set(backbones.names())
    with pytest.raises(ValueError, match="at least 32 x 32 pixels for bn_inception"):
        backbones.build("bn_inception", (31, 64), None)
