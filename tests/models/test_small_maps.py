"""Room for the kernel changes neither the results of a network nor its gradients."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from pa_keras.models.batch_norm_folding import folded
from pa_keras.models.small_maps import room_for_kernel


@pytest.fixture(autouse=True)
def onednn(monkeypatch):
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "1")


def network(size, kernel_size):
    keras.utils.set_random_seed(0)
    images = keras.Input((*size, 6))
    features = layers.DepthwiseConv2D(kernel_size, padding="same")(images)
    norm = layers.BatchNormalization()
    norm.trainable = False
    model = keras.Model(images, norm(features))
    for weight in norm.weights:
        weight.assign(np.random.default_rng(0).uniform(0.5, 2, weight.shape))
    return model


def gradients(call, model, images):
    with tf.GradientTape() as tape:
        tape.watch(images)
        outputs = call(images, training=True)
        loss = tf.reduce_sum(tf.sin(outputs))
    return [outputs, *tape.gradient(loss, [images, *model.trainable_weights])]


@pytest.mark.parametrize("kernel_size", [3, 5, (4, 2), (2, 7)])
@pytest.mark.parametrize("size", [(1, 1), (4, 4), (3, 2), (2, 9)])
def test_results_and_gradients_are_those_of_the_model(size, kernel_size):
    model = network(size, kernel_size)
    images = tf.random.stateless_normal((3, *size, 6), (0, 1))
    expected = gradients(model, model, images)
    received = gradients(folded(model), model, images)
    assert len(received) == 4  # outputs, images, kernel, bias
    for theirs, ours in zip(expected, received, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_the_number_of_rows_and_columns():
    layer, features = layers.DepthwiseConv2D(5, padding="same"), tf.zeros((2, 4, 2, 3))
    assert room_for_kernel(layer, features) == (1, 3)
    assert room_for_kernel(layer, tf.zeros((2, 5, 9, 3))) == (0, 0)


@pytest.mark.parametrize(
    "layer",
    [
        layers.Conv2D(3, 5, padding="same"),
        layers.DepthwiseConv2D(2, padding="valid"),
        layers.DepthwiseConv2D(5, padding="same", strides=2),
        layers.DepthwiseConv2D(5, padding="same", dilation_rate=2),
    ],
)
def test_other_convolutions_get_no_room(layer):
    assert room_for_kernel(layer, tf.zeros((2, 4, 4, 3))) == (0, 0)


def test_only_training_with_onednn_on_a_cpu(monkeypatch):
    layer, features = layers.DepthwiseConv2D(5, padding="same"), tf.zeros((2, 4, 4, 3))
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind])
    assert room_for_kernel(layer, features) == (0, 0)
    monkeypatch.undo()
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    assert room_for_kernel(layer, features) == (0, 0)
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "1")
    assert room_for_kernel(layer, features) == (1, 1)


def test_an_evaluation_adds_no_rows(monkeypatch):
    model = network((4, 4), 5)
    monkeypatch.setattr(tf, "pad", None)
    folded(model)(tf.zeros((1, 4, 4, 6)), training=False)
    with pytest.raises(TypeError):
        folded(model)(tf.zeros((1, 4, 4, 6)), training=True)
