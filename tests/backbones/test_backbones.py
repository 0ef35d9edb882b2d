"""Backbones by name, and bad arguments."""

import keras
import numpy as np
import pytest

from pa_keras import backbones


def test_conv4_is_four_blocks_that_see_scaled_pixels():
    network = backbones.build("conv4", (48, 32), None)
    assert network.name == "backbone"
    assert network.output_shape == (None, 3, 2, 256)
    kernels = 3 * 3 * (3 * 32 + 32 * 64 + 64 * 128 + 128 * 256)
    assert network.count_params() == kernels + 4 * (32 + 64 + 128 + 256)
    scaled = network.get_layer("pixel_scaling")(np.array([[[[0.0, 127.5, 255.0]]]]))
    np.testing.assert_allclose(scaled, [[[[-1, 0, 1]]]], atol=1e-6)


def test_weights_from_a_file_are_those_that_were_saved(tmp_path):
    first = backbones.build("conv4", (16, 16), None)
    first.save_weights(tmp_path / "conv4.weights.h5")
    second = backbones.build("conv4", (32, 32), tmp_path / "conv4.weights.h5")
    for ours, theirs in zip(second.get_weights(), first.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_names_are_sorted_and_complete():
    names = backbones.names()
    assert names == sorted(set(names))
    assert {"conv4", "resnet50", "efficientnetv2b0", "convnexttiny"} <= set(names)
    assert {f"efficientnet_lite{i}" for i in range(5)} <= set(names)


@pytest.mark.parametrize(
    ("name", "nearest"), [("ResNet-50", "resnet50"), ("efficientnetlite0", "efficientnet_lite0")]
)
def test_an_unknown_name_is_answered_with_the_nearest(name, nearest):
    with pytest.raises(ValueError, match=f"received '{name}'. The nearest is '{nearest}'"):
        backbones.build(name, (32, 32), None)


@pytest.mark.parametrize("image_size", [32, np.int64(32), [32, 32], np.array([32, 32])])
def test_image_sizes_of_one_number_and_of_numpy(image_size, tmp_path):
    backbone = backbones.build("conv4", image_size, None)
    backbone.save(tmp_path / "a.keras")
    assert keras.saving.load_model(tmp_path / "a.keras").input_shape == (None, 32, 32, 3)


@pytest.mark.parametrize("image_size", [0, (224,), (0, 224), (224.0, 224), "224", None])
def test_an_image_size_that_is_no_pair_of_pixels(image_size):
    with pytest.raises(ValueError, match=r"Expected image_size as a number of pixels or as"):
        backbones.build("conv4", image_size, None)


@pytest.mark.parametrize(
    ("name", "size"), [("conv4", 16), ("efficientnet_lite0", 32), ("resnet50", 32)]
)
def test_images_too_small(name, size):
    with pytest.raises(ValueError, match=rf"at least {size} ?x ?{size}.*\({size - 1}, {size - 1}"):
        backbones.build(name, (size - 1, size - 1), None)


@pytest.mark.parametrize("weights", ["imagnet", "missing.weights.h5", "w.npz"])
def test_weights_that_are_neither_a_word_nor_a_file(weights):
    with pytest.raises(ValueError, match=f"'imagenet', None, or an existing .h5 .*'{weights}'"):
        backbones.build("mobilenetv2", (32, 32), weights)


def test_conv4_has_no_imagenet_weights():
    with pytest.raises(ValueError, match="Use weights=None"):
        backbones.build("conv4", (32, 32), "imagenet")


@pytest.mark.parametrize("content", ["of another network", "of nothing"])
def test_a_weight_file_that_does_not_fit(content, tmp_path):
    file = tmp_path / "conv4.weights.h5"
    if content == "of nothing":
        file.write_bytes(b"nothing")
    else:
        backbones.build("conv4", (16, 16), None).save_weights(file)
    with pytest.raises(ValueError, match="Expected the weights of mobilenetv2; received .*conv4"):
        backbones.build("mobilenetv2", (32, 32), file)


def test_efficientnet_takes_no_file_as_its_scaling_depends_on_the_weights(tmp_path):
    (tmp_path / "b0.h5").touch()
    with pytest.raises(ValueError, match="one pixel scaling with 'imagenet' and another without"):
        backbones.build("efficientnetb0", (32, 32), tmp_path / "b0.h5")
