"""Compares the paper's networks with torchvision and pretrainedmodels, with the same weights.

Both are needed only for these tests: pip install "pa_keras[parity]".
"""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from pa_keras import backbones
from pa_keras.models import embedding_model

PEERS = ("torch", "torchvision", "pretrainedmodels")
PEER = Path(__file__).parent / "peers" / "torch_networks.py"
MODES = ("train", "frozen", "frozen_statistics")
# pretrainedmodels' BN-Inception cannot take every odd size.
SIZES = {
    "bn_inception": ("64x96", "65x97"),
    "googlenet": ("64x96", "97x75"),
    "torch_resnet18": ("64x96", "97x75"),
    "torch_resnet34": ("64x96", "97x75"),
    "torch_resnet50": ("64x96", "97x75"),
    "torch_resnet101": ("64x96", "97x75"),
}

needs_peers = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, PEERS)),
    reason=f"needs {', '.join(PEERS)}: pip install 'pa_keras[parity]'",
)


@pytest.fixture(scope="module", params=SIZES)
def peer(request, tmp_path_factory):
    """Name of the network, folder of its file, and results of the other framework."""
    folder = tmp_path_factory.mktemp(request.param)
    subprocess.run([sys.executable, PEER, request.param, folder, *SIZES[request.param]], check=True)
    with np.load(folder / "results.npz") as results:
        return request.param, folder, dict(results)


def size_of(text):
    return tuple(map(int, text.split("x")))


def expect_close(ours, theirs, tolerance=1e-3):
    """Tolerates differences of `tolerance` times the largest number."""
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * np.abs(theirs).max())


@needs_peers
def test_features_are_the_same_at_odd_and_even_sizes(peer):
    name, folder, results = peer
    for size in SIZES[name]:
        backbone = backbones.build(name, size_of(size), folder / "start.pth")
        features = backbone(results[f"images_{size}"], training=False)
        expect_close(features, results[f"features_{size}"])


@needs_peers
@pytest.mark.parametrize("mode", MODES)
def test_a_training_step_is_the_same(peer, mode):
    name, folder, results = peer
    size = SIZES[name][-1]
    model = embedding_model(name, 2, size_of(size), folder / "start.pth", mode)
    backbone = model.get_layer("backbone")
    images, direction = results[f"images_{size}"], results["direction"]
    start = {v.path: v.numpy() for v in backbone.weights}
    with tf.GradientTape() as tape:
        features = backbone(images, training=True)
        loss = tf.reduce_sum(features * direction)
    variables = backbone.trainable_variables
    for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
        variable.assign_sub(results[f"rate_{mode}"] * gradient)
    expect_same_statistics(backbone, mode, start, results)
    after = backbone(images, training=True)
    # The step moved them by far more than the tolerance.
    assert np.abs(after - features).max() > 0.004 * np.abs(features).max()
    expect_close(after, results[f"after_{mode}"])


def expect_same_statistics(backbone, mode, start, results):
    norms = [each for each in backbone.layers if isinstance(each, layers.BatchNormalization)]
    for norm in norms:
        mean, variance = norm.moving_mean.numpy(), norm.moving_variance.numpy()
        if mode == "train":
            # PyTorch stores the unbiased variance of the batch, Keras the biased one.
            count = 4 * norm.output.shape[1] * norm.output.shape[2]
            old = norm.momentum * start[norm.moving_variance.path]
            variance = old + (variance - old) * count / (count - 1)
        expect_close(mean, results[f"{mode}:{norm.name}.running_mean"])
        expect_close(variance, results[f"{mode}:{norm.name}.running_var"])


@needs_peers
def test_every_tensor_has_its_place(peer):
    name, folder, results = peer
    backbone = backbones.build(name, (64, 64), folder / "start.pth")
    classifiers = ("fc.", "last_linear.", "aux1.", "aux2.")
    theirs = [n.removeprefix("train:") for n in results if n.startswith("train:")]
    kept = [n for n in theirs if not n.startswith(classifiers) and "num_batches" not in n]
    assert len(backbone.weights) == len(kept)
