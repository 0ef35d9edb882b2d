"""Compares losses and gradients with PyTorch Metric Learning and TensorFlow Addons.

`benchmarks/peers/make.sh` writes the golden files; their "source" names the versions.
"""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pa_keras import losses
from pa_keras.layers import CrossBatchMemory, Proxies, SoftTripleRegularizer

GOLDEN = Path(__file__).parents[1] / "golden"
TORCH = json.loads((GOLDEN / "pytorch_metric_learning.json").read_text())
ADDONS = json.loads((GOLDEN / "tensorflow_addons.json").read_text())

# Name in the golden file, and our loss.
PAIRS_OF_TORCH = [
    ("contrastive", losses.ContrastiveLoss()),
    ("contrastive, margins", losses.ContrastiveLoss(1.2, 0.2)),
    ("triplet, all", losses.TripletLoss(0.3, "all")),
    ("triplet, semi_hard", losses.TripletLoss(0.3, "semi_hard")),
    ("n_pair", losses.NPairLoss()),
    ("lifted_structure", losses.LiftedStructureLoss(1.0)),
    ("multi_similarity", losses.MultiSimilarityLoss(epsilon=None)),
    ("multi_similarity, mined", losses.MultiSimilarityLoss()),
    ("sup_con", losses.SupConLoss()),
    ("circle", losses.CircleLoss(scale=8.0)),
    ("smooth_ap", losses.SmoothAPLoss(0.1, query_in_gallery=True)),
]
WITH_MEMORY = [
    ("memory, contrastive", losses.ContrastiveLoss(1.2)),
    ("memory, multi_similarity", losses.MultiSimilarityLoss(epsilon=None)),
    ("memory, sup_con", losses.SupConLoss()),
    ("memory, circle", losses.CircleLoss(scale=8.0)),
]
OF_PROXIES = [
    ("proxy_nca, target", losses.ProxyNCALoss(3.0, target_in_denominator=True)),
    ("proxy_anchor", losses.ProxyAnchorLoss()),
    ("normalized_softmax", losses.NormalizedSoftmaxLoss()),
    ("cosface", losses.CosFaceLoss(scale=16.0)),
    ("arcface", losses.ArcFaceLoss(math.radians(28.6), 16.0)),
]
PAIRS_OF_ADDONS = [
    ("triplet, semi_hard_nearest", losses.TripletLoss(0.3, "semi_hard_nearest"), "embeddings"),
    ("triplet, hard", losses.TripletLoss(0.3, "hard"), "embeddings"),
    ("lifted_structure, as they are", losses.LiftedStructureLoss(normalize=False), "embeddings"),
    ("n_pair", losses.NPairLoss(), "unit"),
]


def close(found, expected):
    """Tolerates 1e-5 of the largest component, as float32 requires."""
    expected = np.asarray(expected)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def value_and_gradient(loss, labels, embeddings, wrap=lambda f: f):
    embeddings = tf.constant(embeddings, tf.float32)

    @wrap
    def step(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = loss(tf.constant(labels), x)
        return value, tape.gradient(value, x)

    return [each.numpy() for each in step(embeddings)]


WRAPS = {
    "eager": lambda f: f,
    "graph": tf.function,
    "xla": lambda f: tf.function(f, jit_compile=True),
}


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
@pytest.mark.parametrize(("name", "loss"), PAIRS_OF_TORCH, ids=lambda x: str(x)[:24])
def test_pair_losses_of_pytorch_metric_learning(name, loss, wrap):
    given, expected = TORCH["inputs"], TORCH["losses"][name]
    labels = given["blocks" if name == "smooth_ap" else "labels"]
    value, gradient = value_and_gradient(loss, labels, given["embeddings"], wrap)
    assert value == pytest.approx(expected["value"], rel=1e-5)
    close(gradient, expected["embeddings"])


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
@pytest.mark.parametrize(("name", "loss"), WITH_MEMORY, ids=lambda x: str(x)[:24])
def test_cross_batch_memory_of_pytorch_metric_learning(name, loss, wrap):
    given, expected = TORCH["inputs"], TORCH["losses"][name]
    rows, labels = np.array(given["embeddings"], "float32"), np.array(given["labels"])
    memory = CrossBatchMemory(10, warm_up_steps=0)
    memory.build((None, rows.shape[1]))
    for start in (0, 6):
        memory.append(labels[start : start + 6], rows[start : start + 6])
    slots, filled, _ = memory.append(labels[12:], rows[12:])
    places = np.arange(10)
    compared = (places < filled) & (places != np.array(slots)[:, None])
    references = losses.References(memory.queue.value, memory.labels.value, compared)

    def with_references(labels, x):
        return loss(labels, x, references=references)

    value, gradient = value_and_gradient(with_references, labels[12:], rows[12:], wrap)
    assert value == pytest.approx(expected["value"], rel=1e-5)
    close(gradient, expected["embeddings"])


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
@pytest.mark.parametrize(("name", "loss", "inputs"), PAIRS_OF_ADDONS, ids=lambda x: str(x)[:24])
def test_pair_losses_of_tensorflow_addons(name, loss, inputs, wrap):
    given, expected = ADDONS["inputs"], ADDONS["losses"][name]
    value, gradient = value_and_gradient(loss, given["labels"], given[inputs], wrap)
    assert value == pytest.approx(expected["value"], rel=1e-5)
    close(gradient, expected["embeddings"])


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "xla"])
@pytest.mark.parametrize(("name", "loss"), OF_PROXIES, ids=lambda x: str(x)[:24])
def test_proxy_losses_of_pytorch_metric_learning(name, loss, compiled):
    given, expected = TORCH["inputs"], TORCH["losses"][name]
    x = tf.constant(given["embeddings"], tf.float32)
    layer = Proxies(len(given["proxies"]))
    layer.build(x.shape)
    layer.proxies.assign(given["proxies"])

    def step():
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = loss(tf.constant(given["labels"]), layer(x))
        return value, *tape.gradient(value, [x, layer.proxies.value])

    value, of_embeddings, of_proxies = tf.function(step, jit_compile=True)() if compiled else step()
    assert float(value) == pytest.approx(expected["value"], rel=1e-5)
    close(of_embeddings.numpy(), expected["embeddings"])
    close(of_proxies.numpy(), expected["proxies"])


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "xla"])
@pytest.mark.parametrize(
    ("name", "loss", "regularizer"),
    [
        ("soft_triple", losses.SoftTripleLoss(), SoftTripleRegularizer()),
        ("sub_center_arcface", losses.SubCenterArcFaceLoss(math.radians(28.6), 16.0), None),
    ],
    ids=lambda x: str(x)[:24],
)
def test_losses_of_centers_of_pytorch_metric_learning(name, loss, regularizer, compiled):
    given, expected = TORCH["inputs"], TORCH["losses"][name]
    x, centers = tf.constant(given["embeddings"], tf.float32), np.asarray(given["centers"])
    layer = Proxies(len(centers), centers.shape[1], regularizer)
    layer.build(x.shape)
    layer.proxies.assign(centers)

    def step():
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = loss(tf.constant(given["labels"]), layer(x)) + sum(layer.losses)
        return value, *tape.gradient(value, [x, layer.proxies.value])

    value, of_embeddings, of_centers = tf.function(step, jit_compile=True)() if compiled else step()
    assert float(value) == pytest.approx(expected["value"], rel=1e-5)
    close(of_embeddings.numpy(), expected["embeddings"])
    close(of_centers.numpy().reshape(-1, centers.shape[2]), expected["proxies"])
