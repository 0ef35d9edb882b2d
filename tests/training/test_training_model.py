"""The gradient cache: gradients, dropout, batch normalization, precision, and bad batch sizes."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from pa_keras import ProxyAnchorLoss, embedding_model, with_proxies
from pa_keras.config import FitConfig
from pa_keras.runs.loss import KINDS, make_loss, make_training_model, resolved
from pa_keras.training import two_rate_adamw
from pa_keras.training.gradient_cache import expect_chunks
from pa_keras.training.training_model import TrainingModel

pytestmark = pytest.mark.usefixtures("float32_policy")

CLASSES = 4
LABELS = np.repeat(range(CLASSES), 3)  # as in a balanced batch


@pytest.fixture
def images():
    return np.random.default_rng(0).uniform(0, 255, (12, 16, 16, 3)).astype("float32")


def small_embedder(*before):
    """A network with regularized weights and some given layers before its last one."""
    inputs = keras.Input((16, 16, 3), name="images")
    features = layers.Rescaling(1 / 255)(layers.Flatten()(inputs))
    features = layers.Dense(16, "tanh", kernel_regularizer="l2", name="hidden")(features)
    for layer in before:
        features = layer(features)
    features = layers.Dense(8, name="embedding", dtype="float32")(features)
    outputs = layers.UnitNormalization(dtype="float32")(features)
    return keras.Model(inputs, outputs, name="embedding_model")


def chunked(model, chunks):
    return TrainingModel(model.input, model.output, name=model.name, chunks=chunks)


def gradients(model, loss, images, optimizer="sgd"):
    """Loss, and gradients by the paths of their variables, that a step gives to its optimizer."""
    model.compile(optimizer, loss, jit_compile=False)
    found = {}
    model.optimizer.apply_gradients = lambda pairs: found.update({v.path: g for g, v in pairs})

    def step():
        logs = model.train_step((images, LABELS))
        return logs["loss"], dict(found)

    return tf.function(step, autograph=False)()


# Kernels add up in another order on other processors; a wrong gradient differs by far more.
def assert_equal_to(expected, received, tolerance=1e-4):
    assert set(expected) == set(received)
    for path, gradient in expected.items():
        size = np.abs(gradient).max()
        np.testing.assert_allclose(received[path], gradient, atol=tolerance * size, err_msg=path)


@pytest.mark.parametrize("name", KINDS)
def test_gradients_are_those_of_the_whole_batch(name, images):
    config = resolved(FitConfig(loss=name))
    loss = make_loss(config.loss, config.loss_options, CLASSES)
    model = make_training_model(config.loss, config.loss_options, small_embedder(), CLASSES)
    value, expected = gradients(model, loss, images)
    for chunks in (1, 4):
        received_value, received = gradients(chunked(model, chunks), loss, images)
        assert float(received_value) == pytest.approx(float(value), rel=1e-5)
        assert_equal_to(expected, received)


def test_a_network_with_frozen_batch_norm_takes_the_same_steps(images):
    embedder = embedding_model("conv4", 8, (16, 16), weights=None, batch_norm="frozen_statistics")
    model = with_proxies(embedder, CLASSES)
    start, ends = model.get_weights(), []
    for trained in (model, chunked(model, 3)):
        model.set_weights(start)
        optimizer = two_rate_adamw(model, 1e-3, 1e-1, clip_value=1e-3)
        trained.compile(optimizer, ProxyAnchorLoss(num_classes=CLASSES), jit_compile=False)
        logs = [trained.train_on_batch(images, LABELS) for _ in range(2)]
        ends.append(([w - s for w, s in zip(model.get_weights(), start, strict=True)], logs))
    (expected, losses), (received, own_losses) = ends
    np.testing.assert_allclose(own_losses, losses, rtol=1e-5)
    for whole, parts in zip(expected, received, strict=True):
        np.testing.assert_allclose(parts, whole, atol=0.02 * np.abs(whole).max() + 1e-6)


@pytest.mark.parametrize("batch_norm", ["frozen", "frozen_statistics", "train"])
def test_folded_batch_norm_changes_no_gradient(images, batch_norm):
    embedder = embedding_model("conv4", 8, (16, 16), weights=None, batch_norm=batch_norm)
    model, loss = with_proxies(embedder, CLASSES), ProxyAnchorLoss(num_classes=CLASSES)
    value, expected = gradients(model, loss, images)
    received_value, received = gradients(chunked(model, 1), loss, images)
    assert float(received_value) == pytest.approx(float(value), rel=1e-5)
    assert_equal_to(expected, received, 1e-4)


def oracle(model, images, chunks):
    """Loss and gradients from one tape over all chunks, with the embeddings back in order."""
    embedder = model.get_layer("embedding_model")
    with tf.GradientTape() as tape:
        parts = [embedder(images[i::chunks], training=True) for i in range(chunks)]
        embeddings = tf.reshape(tf.stack(parts, axis=1), (len(images), -1))
        value = ProxyAnchorLoss()(LABELS, model.get_layer("proxies")(embeddings))
        value += tf.add_n(model.losses)
    weights = model.trainable_weights
    return value, dict(zip((w.path for w in weights), tape.gradient(value, weights), strict=True))


def test_dropout_is_replayed(images):
    seeds = [layers.Dropout(0.5, seed=1), layers.GaussianDropout(0.3, seed=2)]
    model = chunked(with_proxies(small_embedder(*seeds), CLASSES), 3)
    value, expected = oracle(model, images, 3)
    after = [layer.seed_generator.state.numpy() for layer in seeds]
    for layer, start in zip(seeds, ([1, 0], [2, 0]), strict=True):
        layer.seed_generator.state.assign(start)
    received_value, received = gradients(model, ProxyAnchorLoss(), images)
    assert float(received_value) == pytest.approx(float(value), rel=1e-5)
    assert_equal_to(expected, received)
    # The next step draws as if each chunk had drawn only once.
    for layer, state in zip(seeds, after, strict=True):
        np.testing.assert_array_equal(layer.seed_generator.state, state)


def test_batch_norm_that_trains_takes_each_chunk_and_moves_once(images):
    norm = layers.BatchNormalization(momentum=0.9)
    model = chunked(with_proxies(small_embedder(norm), CLASSES), 3)
    start = norm.get_weights()
    value, expected = oracle(model, images, 3)
    before = keras.Model(model.get_layer("embedding_model").input, norm.input)
    features = before(images).numpy()
    norm.set_weights(start)
    received_value, received = gradients(model, ProxyAnchorLoss(), images)
    assert float(received_value) == pytest.approx(float(value), rel=1e-5)
    assert_equal_to(expected, received)
    means = [features[i::3].mean(axis=0) for i in range(3)]
    variances = [features[i::3].var(axis=0) for i in range(3)]
    np.testing.assert_allclose(norm.moving_mean, 0.1 * np.mean(means, axis=0), atol=1e-6)
    expected = 0.9 + 0.1 * np.mean(variances, axis=0)
    np.testing.assert_allclose(norm.moving_variance, expected, atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy, images):
    keras.config.set_dtype_policy(policy)
    whole = with_proxies(small_embedder(), CLASSES)
    model = chunked(whole, 3)
    (value, expected), (received_value, received) = (
        gradients(either, ProxyAnchorLoss(), images, optimizer=_sgd(policy))
        for either in (whole, model)
    )
    assert float(received_value) == pytest.approx(float(value), rel=1e-2)
    assert_equal_to(expected, received, tolerance=0.02)
    # The complete step: scaled losses give scaled gradients, and updates of the right size.
    model.compile(two_rate_adamw(model, 1e-3, 1e-1), ProxyAnchorLoss(), jit_compile=False)
    scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scaled == (policy == "mixed_float16")
    losses = [model.train_on_batch(images, LABELS) for _ in range(15)]
    assert losses[-1] < 0.9 * losses[0]


def _sgd(policy):
    if policy == "mixed_bfloat16":
        return "sgd"
    return keras.optimizers.LossScaleOptimizer(
        keras.optimizers.SGD(), initial_scale=16.0
    )  # a scale that does not overflow


def test_an_embedding_model_that_stands_still_and_one_chunk_take_the_step_of_keras(images):
    model = with_proxies(small_embedder(), CLASSES)
    _, expected = gradients(model, ProxyAnchorLoss(), images)
    model.get_layer("embedding_model").trainable = False
    _, received = gradients(chunked(model, 5), ProxyAnchorLoss(), images)  # 5 does not divide 12
    assert_equal_to({path: expected[path] for path in received}, received)


def test_chunks_follow_one_another(images):
    model = chunked(with_proxies(small_embedder(), CLASSES), 4)
    model.compile("sgd", ProxyAnchorLoss(), jit_compile=False)
    step = tf.function(lambda: model.train_step((images, LABELS)), autograph=False)
    operations = step.get_concrete_function().graph.get_operations()
    loops = [op for op in operations if op.type.endswith("While")]
    assert [op.get_attr("parallel_iterations") for op in loops] == [1, 1]


def test_a_batch_that_the_chunks_do_not_divide(images):
    model = chunked(with_proxies(small_embedder(), CLASSES), 5)
    model.compile("sgd", ProxyAnchorLoss(), jit_compile=False)
    with pytest.raises(ValueError, match="batch_chunks=5 divides; received a batch of 12"):
        model.train_on_batch(images, LABELS)
    with pytest.raises(ValueError, match="batch_chunks=2 times 4 replicas divides"):
        expect_chunks(2, batch_size=12, replicas=4)
    with pytest.raises(ValueError, match="1 or more; received 0"):
        chunked(model, 0)


@pytest.mark.large
def test_chunks_on_two_replicas():
    script = Path(__file__).with_name("gradient_cache_on_replicas.py")
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert max(json.loads(done.stdout.splitlines()[-1])) < 1e-5
