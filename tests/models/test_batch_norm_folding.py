"""Folding keeps the function, removes each batch norm that it can, and changes no model."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from pa_keras import embedding_model
from pa_keras.evaluation.embedder import Embedder
from pa_keras.models.batch_norm_folding import _norms, folded, folded_for_good

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(0, 255, (3, 48, 48, 3)).astype("float32")


def trained(model):
    """Gives the model statistics, scales and offsets that differ between channels."""
    for layer in norms(model):
        for weight in layer.weights:
            low, high = (-0.5, 0.5) if weight.name in ("beta", "moving_mean") else (0.5, 2.0)
            weight.assign(RNG.uniform(low, high, weight.shape))
    return model


def norms(model):
    return [each for each in model._flatten_layers() if isinstance(each, layers.BatchNormalization)]


def network(*steps, channels=4):
    """A model of layers in sequence, from features (B, 12, 12, channels)."""
    features = keras.Input((12, 12, channels))
    outputs = features
    for step in steps:
        outputs = step(outputs)
    return trained(keras.Model(features, outputs))


def expect_folded(model, number):
    """Checks that this number of convolutions is folded, and that the function is the same."""
    assert len(_norms(model)) == number
    inputs = RNG.uniform(-1, 1, (3, *model.input_shape[1:])).astype("float32")
    expected = np.asarray(model(inputs, training=False))
    size = np.abs(expected).max()
    for function in (folded(model), folded_for_good(model)):
        np.testing.assert_allclose(function(inputs), expected, atol=1e-5 * size)


@pytest.mark.parametrize(
    ("name", "number"),
    [("conv4", 4), ("efficientnet_lite0", 49), ("resnet50", 53), ("xception", 6)],
)
def test_networks(name, number):
    """The 34 separable convolutions of Xception keep their batch norms."""
    model = trained(embedding_model(name, 32, (96, 96), weights=None))
    assert len(_norms(model)) == number
    images = RNG.uniform(0, 255, (2, 96, 96, 3)).astype("float32")
    expected = np.asarray(model(images, training=False))
    for function in (folded(model), folded_for_good(model)):
        np.testing.assert_allclose(function(images), expected, atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(
    depthwise=st.booleans(),
    use_bias=st.booleans(),
    scale=st.booleans(),
    center=st.booleans(),
    epsilon=st.floats(1e-5, 0.1),
    size=st.integers(1, 3),
    strides=st.integers(1, 2),
    dilation=st.integers(1, 2),
    padding=st.sampled_from(["valid", "same"]),
    more=st.integers(1, 2),
)
def test_every_convolution(
    depthwise, use_bias, scale, center, epsilon, size, strides, dilation, padding, more
):
    options = {"strides": strides, "padding": padding, "use_bias": use_bias}
    if strides == 1:
        options["dilation_rate"] = dilation
    if depthwise:
        convolution = layers.DepthwiseConv2D(size, depth_multiplier=more, **options)
    else:
        convolution = layers.Conv2D(6, size, groups=more, bias_initializer="normal", **options)
    norm = layers.BatchNormalization(scale=scale, center=center, epsilon=epsilon)
    expect_folded(network(convolution, norm, layers.ReLU()), 1)


def shared(x):
    convolution = layers.Conv2D(4, 3, padding="same")
    first = layers.BatchNormalization()(convolution(x))
    return layers.Add()([first, layers.BatchNormalization()(convolution(first))])


def taken_twice(x):
    x = layers.Conv2D(4, 3)(x)
    return layers.Add()([x, layers.BatchNormalization()(x)])


def shared_norm(x):
    norm = layers.BatchNormalization()
    branches = [norm(layers.Conv2D(4, 3)(x)), norm(layers.Conv2D(4, 3)(x))]
    return layers.Add()(branches)


class Doubled(layers.Conv2D):
    def call(self, inputs):
        return 2 * super().call(inputs)


class OwnNorm(layers.BatchNormalization):
    def call(self, inputs, training=None):
        return 2 * super().call(inputs, training=training)


def named(x):
    return layers.BatchNormalization()(inputs=layers.Conv2D(4, 3)(x))


def regularized(x):
    return layers.BatchNormalization()(layers.Conv2D(4, 3, activity_regularizer="l2")(x))


STAYING = {
    "an activation between": [layers.Conv2D(4, 3, activation="relu"), layers.BatchNormalization()],
    "a layer between": [layers.Conv2D(4, 3), layers.ReLU(), layers.BatchNormalization()],
    "another axis": [layers.Conv2D(4, 3), layers.BatchNormalization(axis=1)],
    "a subclass of a convolution": [Doubled(4, 3), layers.BatchNormalization()],
    "a subclass of a norm": [layers.Conv2D(4, 3), OwnNorm()],
    "a transposed convolution": [layers.Conv2DTranspose(4, 3), layers.BatchNormalization()],
    "norm first": [layers.BatchNormalization(), layers.Conv2D(4, 3)],
    "a shared convolution": [shared],
    "a convolution that is taken twice": [taken_twice],
    "a shared norm": [shared_norm],
    "a norm called by keyword": [named],
    "an activity that is regularized": [regularized],
    "half precision": [
        layers.Conv2D(4, 3, dtype="mixed_bfloat16"),
        layers.BatchNormalization(dtype="mixed_bfloat16"),
    ],
    "a norm in float32 alone": [
        layers.Conv2D(4, 3, dtype="mixed_bfloat16"),
        layers.BatchNormalization(),
    ],
}


@pytest.mark.parametrize("steps", STAYING.values(), ids=STAYING)
def test_what_cannot_be_folded_stays(steps):
    expect_folded(network(*steps), 0)


def test_beside_what_can_be_folded():
    """One folded convolution is enough to run the graph layer by layer."""
    steps = [layers.Conv2D(4, 3), layers.BatchNormalization(), layers.Conv2D(4, 1)]
    for more in ([shared], [taken_twice], [shared_norm], [named], [Doubled(4, 3), OwnNorm()]):
        expect_folded(network(*steps, *more), 1)


def test_a_convolution_that_is_an_output_stays():
    features = keras.Input((12, 12, 4))
    convolved = layers.Conv2D(4, 3)(features)
    model = keras.Model(features, [convolved, layers.BatchNormalization()(convolved)])
    assert not _norms(model)


def test_several_inputs_and_outputs():
    inputs = [keras.Input((12, 12, 4), name="a"), keras.Input((12, 12, 4), name="b")]
    first = layers.BatchNormalization()(layers.Conv2D(4, 3)(inputs[0]))
    model = trained(keras.Model(inputs, {"first": first, "sum": layers.Add()([first, first])}))
    given = [RNG.normal(size=(2, 12, 12, 4)).astype("float32") for _ in inputs]
    expected, received = model(given, training=False), folded(model)(given)
    assert len(_norms(model)) == 1
    for name in ("first", "sum"):
        np.testing.assert_allclose(received[name], expected[name], atol=1e-5)


def test_a_list_of_one_output_is_that_output():
    inputs = keras.Input((12, 12, 4))
    outputs = [layers.BatchNormalization()(layers.Conv2D(4, 3)(inputs))]
    expect_folded(keras.Model(inputs, outputs), 1)


def test_an_input_in_half_precision():
    inputs = keras.Input((12, 12, 4), dtype="bfloat16")
    outputs = layers.BatchNormalization()(layers.Conv2D(4, 3)(inputs))
    expect_folded(trained(keras.Model(inputs, outputs)), 1)


class Halved(keras.Model):
    def call(self, inputs, training=None, mask=None):
        return super().call(inputs, training, mask) / 2


def test_models_within():
    """Nested functional models are folded, also if called twice; other models are called."""
    steps = [layers.Conv2D(4, 3, padding="same"), layers.BatchNormalization()]
    part = network(*steps)
    expect_folded(network(part, part), 1)
    expect_folded(network(part, lambda x: part(x, training=False)), 1)
    expect_folded(network(layers.Conv2D(4, 1), layers.BatchNormalization(), part), 2)
    sequential = keras.Sequential([keras.Input((12, 12, 4)), *steps])
    expect_folded(sequential, 0)
    expect_folded(network(sequential, part), 1)
    # A Sequential also contains the convolution and the norm of the part.
    expect_folded(network(part, keras.Sequential([keras.Input((12, 12, 4)), *steps])), 1)
    halved = Halved(part.input, part.output)
    expect_folded(halved, 0)
    expect_folded(network(halved, layers.Conv2D(4, 3), layers.BatchNormalization()), 1)


def test_weights_are_shared_or_copied():
    model = trained(embedding_model("conv4", 16, (48, 48), weights=None))
    shared, copied = folded(model), folded_for_good(model)
    before = np.asarray(model(IMAGES, training=False))
    for weight in trained(model).get_layer("backbone").weights:
        weight.assign(np.asarray(weight) * RNG.uniform(0.5, 1.5, weight.shape))
    after = np.asarray(model(IMAGES, training=False))
    assert np.abs(before - after).max() > 1e-2
    np.testing.assert_allclose(shared(IMAGES), after, atol=1e-5)
    np.testing.assert_allclose(copied(IMAGES), before, atol=1e-5)


@pytest.mark.parametrize("batch_norm", ["frozen", "frozen_statistics", "train"])
def test_gradients_are_those_of_the_model(batch_norm):
    """This holds in training, too; a batch norm that trains uses the statistics of the batch."""
    model = trained(embedding_model("conv4", 16, (48, 48), weights=None, batch_norm=batch_norm))
    found = []
    for call in (model, folded(model)):
        statistics = [np.asarray(weight) for weight in model.non_trainable_variables]
        with tf.GradientTape() as tape:
            outputs = call(IMAGES, training=True)
            loss = tf.reduce_sum(outputs * tf.linspace(-1.0, 1.0, 16))
        variables = [weight.value for weight in model.trainable_variables]
        moved = [np.asarray(weight) for weight in model.non_trainable_variables]
        found.append([outputs, *tape.gradient(loss, variables), *moved])
        for weight, value in zip(model.non_trainable_variables, statistics, strict=True):
            weight.assign(value)
    assert len(model.trainable_variables) == {"frozen": 6}.get(batch_norm, 14)
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-4 * np.abs(one).max())


def test_the_embedder_sees_new_weights_of_batch_norm():
    model = trained(embedding_model("conv4", 16, (48, 48), weights=None))
    embedder = Embedder(model)
    before = embedder([IMAGES])
    trained(model)
    expected = np.asarray(model(IMAGES, training=False))
    assert np.abs(before - expected).max() > 1e-2
    np.testing.assert_allclose(embedder([IMAGES]), expected, atol=1e-5)


def test_the_model_itself_is_as_it_was(tmp_path):
    """The model is compiled with a loss that is not registered."""
    model = trained(embedding_model("conv4", 16, (48, 48), weights=None))

    def own_loss(labels, outputs):
        return tf.reduce_sum(outputs)

    model.compile("adamw", own_loss)
    expected = np.asarray(model(IMAGES, training=False))
    layout, weights = model.get_config(), model.get_weights()
    nodes = [(len(x._inbound_nodes), len(x._outbound_nodes)) for x in model._flatten_layers()]
    for fold in (folded, folded_for_good):
        fold(model)(IMAGES)
    assert model.get_config() == layout
    now = [(len(x._inbound_nodes), len(x._outbound_nodes)) for x in model._flatten_layers()]
    assert now == nodes
    for one, other in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(model(IMAGES, training=False), expected)


def test_under_a_strategy():
    script = Path(__file__).with_name("folded_on_replicas.py")
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["folded"] == 4
    assert all(difference < 1e-4 for difference in found["differences"])
