"""keras_hub presets have the same features on raw pixels as the network that was saved."""

import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from pa_keras.backbones import keras_hub as backbones

keras_hub = pytest.importorskip("keras_hub", reason='needs pip install "pa_keras[hub]"')

SCALE, OFFSET = [0.017, 0.018, 0.0174], [-2.1, -2.0, -1.8]
VIT = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8}
DINOV2 = {**VIT, "patch_size": 14, "intermediate_dim": 16, "position_embedding_shape": (70, 70, 3)}


def clip(family, **text):
    """A CLIP-like pair with its text encoder."""
    models = keras_hub.models
    sizes = {**VIT, "intermediate_dim": 16}
    vision = {"patch_size": 16, "image_shape": (64, 64, 3), "name": "vision", **sizes}
    text = {"vocabulary_size": 9, "embedding_dim": 8, "max_sequence_length": 4, **sizes, **text}
    return getattr(models, f"{family}Backbone")(
        vision_encoder=getattr(models, f"{family}VisionEncoder")(**vision),
        text_encoder=getattr(models, f"{family}TextEncoder")(name="text", **text),
        **({} if family == "SigLIP" else {"projection_dim": 8}),
    )


NETWORKS = {  # family: a tiny network with random weights
    "dinov2": lambda: keras_hub.models.DINOV2Backbone(**DINOV2, image_shape=(70, 70, 3)),
    "dinov2_with_registers": lambda: keras_hub.models.DINOV2Backbone(
        **DINOV2,
        image_shape=(70, 70, 3),
        num_register_tokens=3,
        antialias_in_interpolation=True,
    ),
    "dinov3": lambda: keras_hub.models.DINOV3Backbone(
        **VIT, patch_size=16, intermediate_dim=16, image_shape=(64, 64, 3)
    ),
    "vit": lambda: keras_hub.models.ViTBackbone((64, 64, 3), patch_size=16, mlp_dim=16, **VIT),
    "siglip": lambda: clip("SigLIP"),
    "clip": lambda: clip("CLIP"),
    "metaclip_2": lambda: clip("MetaCLIP2"),
    "resnet": lambda: keras_hub.models.ResNetBackbone(
        [64], [7], [64, 64], [1, 1], [1, 2], block_type="basic_block"
    ),
    "efficientnet": lambda: keras_hub.models.EfficientNetBackbone(
        stackwise_width_coefficients=[1.0, 1.0],
        stackwise_depth_coefficients=[1.0, 1.0],
        stackwise_kernel_sizes=[3, 3],
        stackwise_num_repeats=[1, 1],
        stackwise_input_filters=[8, 16],
        stackwise_output_filters=[16, 16],
        stackwise_expansion_ratios=[1, 4],
        stackwise_squeeze_and_excite_ratios=[0.25, 0.25],
        stackwise_strides=[1, 2],
        stackwise_block_types=["v1", "v1"],
    ),
    "mobilenet": lambda: keras_hub.models.MobileNetBackbone(
        stackwise_expansion=[[16], [24]],
        stackwise_num_blocks=[1, 1],
        stackwise_num_filters=[[8], [16]],
        stackwise_kernel_size=[[3], [3]],
        stackwise_num_strides=[[2], [2]],
        stackwise_se_ratio=[[None], [0.25]],
        stackwise_activation=[["relu"], ["hard_swish"]],
        stackwise_padding=[[1], [1]],
        output_num_filters=16,
        input_activation="hard_swish",
        output_activation="hard_swish",
        input_num_filters=8,
        depthwise_filters=8,
        depthwise_stride=2,
        depthwise_residual=False,
        squeeze_and_excite=0.5,
        last_layer_filter=16,
    ),
    "hgnetv2": lambda: keras_hub.models.HGNetV2Backbone(
        depths=[1, 1],
        embedding_size=8,
        hidden_sizes=[16, 24],
        stem_channels=[3, 8, 8],
        hidden_act="relu",
        use_learnable_affine_block=False,
        stackwise_stage_filters=[(8, 8, 16, 1, 1, 3), (16, 8, 24, 1, 1, 3)],
        apply_downsample=[False, True],
        use_lightweight_conv_block=[False, False],
    ),
    "cspnet": lambda: keras_hub.models.CSPNetBackbone(
        stem_filters=8,
        stem_kernel_size=3,
        stem_strides=2,
        stackwise_depth=[1, 1],
        stackwise_strides=[2, 2],
        stackwise_num_filters=[16, 16],
        block_type="dark_block",
        stage_type="dark",
    ),
    "densenet": lambda: keras_hub.models.DenseNetBackbone([1, 1], growth_rate=8),
    "vgg": lambda: keras_hub.models.VGGBackbone([1, 1], [8, 16]),
    "xception": lambda: keras_hub.models.XceptionBackbone([[8, 8], [16, 16]], [True, False]),
}
CONVOLUTIONAL = list(NETWORKS)[list(NETWORKS).index("resnet") :]
TRANSFORMERS = list(NETWORKS)[: -len(CONVOLUTIONAL)]


def own_size(family):
    return (70, 70) if family.startswith("dinov2") else (64, 64)


def other_size(family):
    return (98, 56) if family.startswith("dinov2") else (96, 48)


def preset_of(network, folder):
    network.save_to_preset(str(folder))
    keras_hub.layers.ImageConverter(scale=SCALE, offset=OFFSET).save_to_preset(str(folder))
    return str(folder)


def disturbed(family, seed=0):
    """The tiny network with changed weights, as after training."""
    network = NETWORKS[family]()
    rng = np.random.default_rng(seed)
    vision = getattr(network, "vision_encoder", network)
    for weight in vision.trainable_weights:
        weight.assign(weight + rng.normal(0, 0.05, weight.shape))
    if family.startswith("dinov2"):  # keras_hub saves the first, and uses the second
        embeddings = network.embeddings
        embeddings.position_embeddings.assign(embeddings.interpolated_position_embeddings)
    if family == "clip":  # a pretrained file has them, but a new network of 0.32 does not
        vision.embedding.position_ids.assign(np.arange(17)[None])
    return network


def pixels_of(size, seed=1):
    return np.random.default_rng(seed).uniform(0, 255, (2, *size, 3)).astype("float32")


def expected_features(network, pixels, grid):
    """The output of keras_hub for pixels scaled by hand, with its tokens as a map."""
    vision = getattr(network, "vision_encoder", network)
    output = vision.head.input if hasattr(vision, "head") else vision.output
    scaled = pixels * np.asarray(SCALE, "float32") + np.asarray(OFFSET, "float32")
    y = keras.Model(vision.inputs, output)([scaled], training=False)
    y = np.asarray(list(y.values())[-1] if isinstance(y, dict) else y)
    if y.ndim == 4:
        return y
    patches = y[:, -grid[0] * grid[1] :].reshape(len(y), *grid, -1)
    if y.shape[1] == grid[0] * grid[1]:
        return patches
    return np.concatenate([np.broadcast_to(y[:, :1, None], patches.shape), patches], axis=-1)


def assert_close(actual, expected):
    expected = np.asarray(expected)
    assert np.std(expected) > 0
    np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("family", NETWORKS)
def test_features_equal_the_networks_own_at_its_own_size(family, tmp_path):
    network, size = disturbed(family), own_size(family)
    backbone = backbones.build(preset_of(network, tmp_path), size, "imagenet")
    pixels = pixels_of(size)
    assert backbone.name == "backbone"
    assert backbone.input_shape == (None, *size, 3)
    expected = expected_features(network, pixels, backbone.output_shape[1:3])
    assert backbone.output_shape == (None, *expected.shape[1:])
    assert_close(backbone(pixels, training=False), expected)
    assert backbone.get_layer("pixel_scaling").dtype_policy.name == "float32"


@pytest.mark.parametrize("family", CONVOLUTIONAL)
def test_a_convolutional_network_takes_any_size(family, tmp_path):
    network, size = disturbed(family), other_size(family)
    backbone = backbones.build(preset_of(network, tmp_path), size, "imagenet")
    pixels = pixels_of(size)
    assert_close(backbone(pixels, training=False), expected_features(network, pixels, None))


@pytest.mark.parametrize("family", TRANSFORMERS)
def test_a_transformer_takes_another_size_of_another_shape(family, tmp_path):
    preset, size = preset_of(disturbed(family), tmp_path), other_size(family)
    backbone = backbones.build(preset, size, "imagenet")
    channels = 8 if family == "siglip" else 16
    grid = (7, 4) if family.startswith("dinov2") else (6, 3)
    assert backbone.output_shape == (None, *grid, channels)
    flat = np.full((1, *size, 3), 100, "float32")
    features = np.asarray(backbone(flat, training=False))
    assert np.isfinite(features).all()
    assert np.ptp(features[0], axis=(0, 1)).max() > 1e-4  # only the positions differ


@pytest.mark.parametrize(
    ("family", "patches"), [("dinov2", 3), ("dinov2_with_registers", 3), ("dinov3", 6)]
)
def test_another_square_size_equals_keras_hubs_own_interpolation(family, patches, tmp_path):
    preset = preset_of(disturbed(family), tmp_path)
    size = (patches * (16 if family == "dinov3" else 14),) * 2
    theirs = keras_hub.models.Backbone.from_preset(preset, image_shape=(*size, 3))
    ours = backbones.build(preset, size, "imagenet")
    pixels = pixels_of(size)
    assert_close(ours(pixels), expected_features(theirs, pixels, (patches, patches)))


def test_positions_of_a_ramp_stay_a_ramp(tmp_path):
    network = NETWORKS["vit"]()
    table = network.layers[1].position_embedding
    rows, columns = np.meshgrid(np.arange(4.0), np.arange(4.0), indexing="ij")
    ramp = np.stack([rows, columns] * 4, axis=-1).reshape(16, 8)
    table.set_weights([np.concatenate([np.full((1, 8), 7.0), ramp])])
    backbone = backbones.build(preset_of(network, tmp_path), (128, 256), "imagenet")
    positions = backbone.get_layer("positions").get_weights()[0].reshape(8, 16, 8)
    rows, columns = (np.arange(8) + 0.5) / 2 - 0.5, (np.arange(16) + 0.5) / 4 - 0.5
    inner = positions[3:5, 6:10]
    np.testing.assert_allclose(inner[..., 0], np.repeat(rows[3:5, None], 4, 1), atol=1e-5)
    np.testing.assert_allclose(inner[..., 1], np.repeat(columns[None, 6:10], 2, 0), atol=1e-5)
    class_token = np.asarray(network.layers[1].class_token)[0] + 7
    np.testing.assert_allclose(backbone.get_layer("tokens").get_weights()[0], class_token)


def test_without_weights_the_architecture_is_enough(tmp_path):
    preset = preset_of(disturbed("vit"), tmp_path)
    trained = backbones.build(preset, (64, 64), "imagenet")
    (tmp_path / "model.weights.h5").unlink()
    random = backbones.build(preset, (64, 64), None)
    pixels = pixels_of((64, 64))
    assert random.output_shape == trained.output_shape
    assert np.abs(random(pixels) - trained(pixels)).max() > 0.1
    trained.save_weights(tmp_path / "mine.weights.h5")
    random.load_weights(tmp_path / "mine.weights.h5")
    np.testing.assert_array_equal(random(pixels), trained(pixels))
    with pytest.raises(FileNotFoundError, match="weights"):
        backbones.build(preset, (64, 64), "imagenet")


def test_a_converter_without_scale_leaves_the_pixels(tmp_path):
    network = NETWORKS["vgg"]()
    network.save_to_preset(str(tmp_path))
    keras_hub.layers.ImageConverter().save_to_preset(str(tmp_path))
    backbone = backbones.build(str(tmp_path), (64, 64), "imagenet")
    pixels = pixels_of((64, 64))
    assert_close(backbone(pixels), network(pixels))


@pytest.mark.parametrize("family", ["dinov2_with_registers", "dinov3", "siglip", "vit"])
def test_a_step_of_training_moves_every_weight(family, tmp_path):
    size = own_size(family)
    backbone = backbones.build(preset_of(disturbed(family), tmp_path), size, "imagenet")
    outputs = keras.layers.GlobalAveragePooling2D()(backbone.output)
    outputs = keras.layers.Dense(3)(outputs)
    model = keras.Model(backbone.input, outputs)
    before = [variable.numpy() for variable in backbone.trainable_variables]
    model.compile(keras.optimizers.SGD(10.0), "mse", run_eagerly=True)
    model.train_on_batch(pixels_of(size), np.eye(2, 3))
    still = [
        variable.path
        for variable, old in zip(backbone.trainable_variables, before, strict=True)
        if np.array_equal(variable, old)
    ]
    # The bias of the keys adds the same number to every logit of a softmax.
    assert [path for path in still if "key/bias" not in path] == []


def test_dropout_is_of_the_training_alone(tmp_path):
    network = keras_hub.models.DINOV2Backbone(**DINOV2, image_shape=(70, 70, 3), dropout_rate=0.5)
    backbone = backbones.build(preset_of(network, tmp_path), (70, 70), "imagenet")
    pixels = pixels_of((70, 70))
    np.testing.assert_array_equal(backbone(pixels), backbone(pixels, training=False))
    assert np.abs(backbone(pixels, training=True) - backbone(pixels)).max() > 0.1


LOADER = """
import sys
import pa_keras.backbones.keras_hub
assert "keras_hub" not in sys.modules  # imported only on use
for name in [name for name in sys.modules if name.startswith("pa_keras")]:
    del sys.modules[name]
import keras, numpy as np
for path in sys.argv[1:]:
    arrays = np.load(path + ".npz")
    np.testing.assert_allclose(keras.models.load_model(path)(arrays["x"]), arrays["y"], atol=1e-5)
assert "pa_keras" not in sys.modules
"""


def test_a_saved_backbone_needs_keras_hub_alone(tmp_path):
    paths = []
    for family in ["dinov2_with_registers", "dinov3", "siglip", "hgnetv2"]:
        preset, size = preset_of(disturbed(family), tmp_path / family), other_size(family)
        backbone = backbones.build(preset, size, "imagenet")
        for variable in backbone.trainable_variables:  # training lowers all of them
            variable.assign(variable - 0.01)
        paths.append(str(tmp_path / f"{family}.keras"))
        backbone.save(paths[-1])
        pixels = pixels_of(size)
        np.savez(paths[-1] + ".npz", x=pixels, y=backbone(pixels))
    command = [sys.executable, "-c", LOADER, *paths]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-2000:]


def test_an_unknown_preset_names_its_neighbours():
    with pytest.raises(ValueError, match="a folder with one; received 'dinov2_bas'") as raised:
        backbones.build("dinov2_bas", (224, 224), "imagenet")
    assert "The nearest are dinov2_base" in str(raised.value)
    assert {"dinov2_base", "siglip_base_patch16_224", "resnet_50_imagenet"} <= set(
        backbones.presets()
    )
    assert "bert_base_en" not in backbones.presets()


def test_a_preset_of_another_kind_of_network_is_refused(tmp_path):
    keras_hub.models.BertBackbone(9, 1, 2, 8, 16).save_to_preset(str(tmp_path))
    with pytest.raises(ValueError, match="image network .CLIP, DINOV2.*of Bert"):
        backbones.build(str(tmp_path), (64, 64), None)


def test_a_preset_without_an_image_converter_is_refused(tmp_path):
    NETWORKS["vgg"]().save_to_preset(str(tmp_path))
    with pytest.raises(ValueError, match="how to scale pixels; .*image_converter.json"):
        backbones.build(str(tmp_path), (64, 64), "imagenet")


def test_a_size_that_the_patches_do_not_divide_is_refused(tmp_path):
    preset = preset_of(NETWORKS["dinov2"](), tmp_path)
    with pytest.raises(ValueError, match="multiples of 14 x 14 pixels; received") as raised:
        backbones.build(preset, (224, 300), "imagenet")
    assert "(224, 300). The nearest are (224, 294) and (224, 308)." in str(raised.value)


def test_an_own_size_that_the_patches_do_not_divide_is_accepted(tmp_path):
    network = keras_hub.models.SigLIPVisionEncoder(
        patch_size=14, image_shape=(64, 64, 3), intermediate_dim=16, **VIT
    )
    pair = keras_hub.models.SigLIPBackbone(network, clip("SigLIP").text_encoder)
    backbone = backbones.build(preset_of(pair, tmp_path), (64, 64), "imagenet")
    pixels = pixels_of((64, 64))
    assert_close(backbone(pixels), expected_features(pair, pixels, (4, 4)))


def test_weights_of_another_network_are_refused(tmp_path):
    preset = preset_of(NETWORKS["vgg"](), tmp_path)
    NETWORKS["densenet"]().save_weights(tmp_path / "model.weights.h5")
    with pytest.raises(ValueError):
        backbones.build(preset, (64, 64), "imagenet")


@pytest.mark.parametrize("fault", ["key", "garbage", "cut", "empty"])
def test_a_broken_folder_is_named(fault, tmp_path):
    preset = Path(preset_of(NETWORKS["vgg"](), tmp_path))
    config, weights = preset / "config.json", preset / "model.weights.h5"
    if fault == "key":
        config.write_text(config.read_text().replace('"stackwise_num_repeats"', '"other"'))
    elif fault == "garbage":
        config.write_text("<html>")
    elif fault == "cut":
        weights.write_bytes(weights.read_bytes()[:2000])
    else:
        config.unlink()
    with pytest.raises(ValueError, match="Expected a folder that save_to_preset wrote") as raised:
        backbones.build(str(preset), (64, 64), "imagenet")
    assert f"received {preset}" in str(raised.value)


def test_a_missing_package_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(ImportError, match=re.escape('pip install "pa_keras[hub]"')):
        backbones.build("dinov2_base", (224, 224), "imagenet")


@pytest.mark.parametrize(
    ("preset", "error"),
    [
        ("dinov2_base", ConnectionResetError(104, "Connection reset by peer")),
        ("kaggle://keras/vit/keras/mine/1", TimeoutError("The read operation timed out")),
        ("hf://me/vit", ValueError("Preset hf://me/vit has no config.json. Make sure")),
    ],
)
def test_a_failed_download_says_what_to_do(preset, error, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr(keras_hub.models.Backbone, "from_preset", fail)
    with pytest.raises(ConnectionError, match="save_to_preset.*keras_hub/<folder>") as raised:
        backbones.build(preset, (224, 224), "imagenet")
    assert f"preset {preset}; received {type(error).__name__}: {error}" in str(raised.value)


def test_other_faults_of_keras_hub_pass_through(monkeypatch):
    def fail(*_):
        raise ValueError("403 gated")

    monkeypatch.setattr(keras_hub.models.Backbone, "from_preset", fail)
    with pytest.raises(ValueError, match="^403 gated$"):
        backbones.build("dinov2_base", (224, 224), "imagenet")
