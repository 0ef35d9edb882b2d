"""Folding: the function stays, batch norms go where they can, and no model is changed by it."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from pa_keras import embedding_model
from pa_keras.folding import folded, folded_copy
from pa_keras.training.embedding import Embedder

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(0, 255, (3, 48, 48, 3)).astype("float32")


def trained(model):
    """The model with statistics, scales and offsets that differ from channel to channel."""
    for layer in norms(model):
        for weight in layer.weights:
            low, high = (-0.5, 0.5) if weight.name in ("beta", "moving_mean") else (0.5, 2.0)
            weight.assign(RNG.uniform(low, high, weight.shape))
    return model


def norms(model):
    return [each for each in model._flatten_layers() if isinstance(each, layers.BatchNormalization)]


def network(*steps, channels=4):
    """Features (B, 12, 12, channels) through layers that follow one another."""
    features = keras.Input((12, 12, channels))
    outputs = features
    for step in steps:
        outputs = step(outputs)
    return trained(keras.Model(features, outputs))


def expect_same_function(model, other, tolerance=1e-5):
    inputs = RNG.uniform(-1, 1, (3, *model.input_shape[1:])).astype("float32")
    expected = np.asarray(model(inputs, training=False))
    np.testing.assert_allclose(
        other(inputs, training=False), expected, atol=tolerance * np.abs(expected).max()
    )


@pytest.mark.parametrize(
    ("name", "left"), [("conv4", 0), ("efficientnet_lite0", 0), ("resnet50", 0), ("xception", 34)]
)
def test_networks(name, left):
    """The 34 separable convolutions of Xception keep their batch norm."""
    model = trained(embedding_model(name, 32, (96, 96), weights=None))
    images = RNG.uniform(0, 255, (2, 96, 96, 3)).astype("float32")
    expected = np.asarray(model(images, training=False))
    for fold in (folded, folded_copy):
        np.testing.assert_allclose(fold(model)(images, training=False), expected, atol=1e-4)
    assert len(norms(folded_copy(model))) == left


@settings(max_examples=25, deadline=None)
@given(
    depthwise=st.booleans(),
    use_bias=st.booleans(),
    scale=st.booleans(),
    center=st.booleans(),
    epsilon=st.floats(1e-5, 0.1),
    size=st.integers(1, 3),
    strides=st.integers(1, 2),
    padding=st.sampled_from(["valid", "same"]),
    more=st.integers(1, 2),
)
def test_every_convolution(
    depthwise, use_bias, scale, center, epsilon, size, strides, padding, more
):
    options = {"strides": strides, "padding": padding, "use_bias": use_bias}
    if depthwise:
        convolution = layers.DepthwiseConv2D(size, depth_multiplier=more, **options)
    else:
        convolution = layers.Conv2D(6, size, groups=more, bias_initializer="normal", **options)
    norm = layers.BatchNormalization(scale=scale, center=center, epsilon=epsilon)
    model = network(convolution, norm, layers.ReLU())
    expect_same_function(model, folded(model))
    copy = folded_copy(model)
    assert not norms(copy)
    expect_same_function(model, copy)


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


STAYING = {
    "an activation between": [layers.Conv2D(4, 3, activation="relu"), layers.BatchNormalization()],
    "a layer between": [layers.Conv2D(4, 3), layers.ReLU(), layers.BatchNormalization()],
    "another axis": [layers.Conv2D(4, 3), layers.BatchNormalization(axis=1)],
    "a convolution of one's own": [Doubled(4, 3), layers.BatchNormalization()],
    "a transposed convolution": [layers.Conv2DTranspose(4, 3), layers.BatchNormalization()],
    "norm first": [layers.BatchNormalization(), layers.Conv2D(4, 3)],
    "a shared convolution": [shared],
    "a convolution that is taken twice": [taken_twice],
    "a shared norm": [shared_norm],
}


@pytest.mark.parametrize("steps", STAYING.values(), ids=STAYING)
def test_what_cannot_be_folded_stays(steps):
    model = network(*steps)
    assert folded(model) is model
    assert folded_copy(model) is model


def test_a_convolution_that_is_an_output_stays():
    features = keras.Input((12, 12, 4))
    convolved = layers.Conv2D(4, 3)(features)
    model = keras.Model(features, [convolved, layers.BatchNormalization()(convolved)])
    assert folded(model) is model
    assert folded_copy(model) is model


def test_only_functional_models_are_folded():
    steps = [layers.Conv2D(4, 3), layers.BatchNormalization()]
    model = keras.Sequential([keras.Input((12, 12, 4)), *steps])
    assert folded(model) is model
    assert folded_copy(model) is model
    within = network(model, layers.Conv2D(4, 3, name="last"), layers.BatchNormalization())
    assert len(norms(folded_copy(within))) == 1
    expect_same_function(within, folded_copy(within))


def test_a_part_that_is_called_twice():
    part = network(layers.Conv2D(4, 3, padding="same"), layers.BatchNormalization())
    model = network(part, part)
    copy = folded_copy(model)
    assert not norms(copy)
    expect_same_function(model, copy)
    expect_same_function(model, folded(model))


def test_weights_are_shared_or_copied():
    model = trained(embedding_model("conv4", 16, (48, 48), weights=None))
    shared, copied = folded(model), folded_copy(model)
    before = np.asarray(model(IMAGES, training=False))
    for weight in trained(model).get_layer("backbone").weights:
        weight.assign(np.asarray(weight) * RNG.uniform(0.5, 1.5, weight.shape))
    after = np.asarray(model(IMAGES, training=False))
    assert np.abs(before - after).max() > 1e-2
    np.testing.assert_allclose(shared(IMAGES, training=False), after, atol=1e-5)
    np.testing.assert_allclose(copied(IMAGES, training=False), before, atol=1e-5)


@pytest.mark.parametrize("batch_norm", ["frozen", "frozen_statistics", "train"])
def test_gradients_are_those_of_the_model(batch_norm):
    """In training too; a batch norm that trains takes the statistics of the batch."""
    model = trained(embedding_model("conv4", 16, (48, 48), weights=None, batch_norm=batch_norm))
    found = []
    for each in (model, folded(model)):
        statistics = [np.asarray(weight) for weight in model.non_trainable_variables]
        with tf.GradientTape() as tape:
            outputs = each(IMAGES, training=True)
            loss = tf.reduce_sum(outputs * tf.linspace(-1.0, 1.0, 16))
        variables = [weight.value for weight in model.trainable_variables]
        moved = [np.asarray(weight) for weight in model.non_trainable_variables]
        found.append([outputs, *tape.gradient(loss, variables), *moved])
        for weight, value in zip(model.non_trainable_variables, statistics, strict=True):
            weight.assign(value)
    assert len(model.trainable_variables) == {"frozen": 6}.get(batch_norm, 14)
    for one, other in zip(*found, strict=True):
        scale = np.abs(one).max()
        np.testing.assert_allclose(other, one, atol=1e-4 * scale)


def test_the_embedder_sees_new_weights_of_batch_norm():
    model = trained(embedding_model("conv4", 16, (48, 48), weights=None))
    embedder = Embedder(model)
    before = embedder([IMAGES])
    trained(model)
    expected = np.asarray(model(IMAGES, training=False))
    assert np.abs(before - expected).max() > 1e-2
    np.testing.assert_allclose(embedder([IMAGES]), expected, atol=1e-5)


def test_the_model_itself_is_as_it_was(tmp_path):
    model = trained(embedding_model("conv4", 16, (48, 48), weights=None))
    expected = np.asarray(model(IMAGES, training=False))
    layout, weights = model.to_json(), model.get_weights()
    folded(model)
    folded_copy(model)
    assert model.to_json() == layout
    for one, other in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(one, other)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(IMAGES, training=False), expected)


def test_a_folded_copy_is_of_stock_layers(tmp_path):
    model = folded_copy(trained(embedding_model("conv4", 16, (48, 48), weights=None)))
    expected = np.asarray(model(IMAGES, training=False))
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", IMAGES)
    load = (
        "import keras, numpy as np, sys; model = keras.models.load_model('model.keras'); "
        "np.save('found.npy', model(np.load('images.npy'), training=False)); "
        "assert 'pa_keras' not in sys.modules"
    )
    # Outside the checkout, so that nothing of ours is there to be found.
    environment = {**os.environ, "PYTHONPATH": "", "TF_CPP_MIN_LOG_LEVEL": "2"}
    subprocess.run([sys.executable, "-c", load], cwd=tmp_path, env=environment, check=True)
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), expected, atol=1e-6)


def test_mixed_precision_differs_by_its_rounding(float32_policy):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = trained(embedding_model("conv4", 16, (48, 48), weights=None))
    copies = [folded(model), folded_copy(model)]
    keras.config.set_dtype_policy("float32")
    whole = keras.models.model_from_json(model.to_json().replace("mixed_bfloat16", "float32"))
    whole.set_weights(model.get_weights())
    truth = np.asarray(whole(IMAGES, training=False))
    off = [np.abs(each(IMAGES, training=False) - truth).max() for each in (model, *copies)]
    assert max(off) < 2 * off[0] < 0.1
