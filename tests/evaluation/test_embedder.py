"""Embedding batches: order, shapes, one trace, changed weights, clear errors."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pa_keras.evaluation.embedder import Embedder, embed


def small_model():
    images = keras.Input((4, 5, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(images)
    return keras.Model(images, keras.layers.UnitNormalization()(keras.layers.Dense(6)(pooled)))


@pytest.fixture
def images():
    return np.random.default_rng(0).uniform(0, 255, (11, 4, 5, 3)).astype("float32")


def test_equals_the_model_in_order_with_a_partial_last_batch(images):
    model = small_model()
    batches = tf.data.Dataset.from_tensor_slices(images).batch(4)
    expected = model(images, training=False).numpy()
    received = embed(model, batches)
    assert received.dtype == np.float32
    np.testing.assert_allclose(received, expected, atol=1e-6)
    labelled = tf.data.Dataset.from_tensor_slices((images, np.arange(11))).batch(4)
    np.testing.assert_allclose(embed(model, labelled), expected, atol=1e-6)
    pixels = images.astype("uint8")
    whole = embed(model, [pixels])
    np.testing.assert_allclose(embed(model, [pixels[:7], pixels[7:]]), whole, atol=1e-6)


def test_traced_once_for_all_batch_sizes_and_sees_new_weights(images):
    traces = []

    class Counted(keras.layers.Layer):
        def call(self, inputs):
            traces.append(inputs.shape)
            return inputs

    inputs = keras.Input((4, 5, 3))
    dense = keras.layers.Dense(2)
    features = dense(keras.layers.GlobalAveragePooling2D()(Counted()(inputs)))
    embedder = Embedder(keras.Model(inputs, features))
    traces.clear()
    first = embedder([images[:4], images[4:8], images[8:]])
    dense.kernel.assign(2 * dense.kernel)
    second = embedder([images[:10], images[10:]])
    assert len(traces) == 1
    np.testing.assert_allclose(second, 2 * first, rtol=1e-5)


def test_layers_are_in_inference_mode(images):
    inputs = keras.Input((4, 5, 3))
    features = keras.layers.GlobalAveragePooling2D()(keras.layers.Dropout(0.5)(inputs))
    expected = images.mean(axis=(1, 2))
    np.testing.assert_allclose(embed(keras.Model(inputs, features), [images]), expected, rtol=1e-4)


def test_mixed_precision_gives_float32(images):
    inputs = keras.Input((4, 5, 3))
    features = keras.layers.GlobalAveragePooling2D(dtype="mixed_float16")(inputs)
    assert embed(keras.Model(inputs, features), [images / 255]).dtype == np.float32


def test_progress_bar_counts_images(images, capsys):
    embed(small_model(), [images[:6], images[6:]], total=11, progress=True)
    assert "11/11" in capsys.readouterr().err


def test_bad_input_is_refused(images):
    with pytest.raises(ValueError, match="at least one batch of images to embed"):
        embed(small_model(), [])
    with pytest.raises(ValueError, match=r"shape \(None, 4, 5, 3\); received \(11, 5, 4, 3\)"):
        embed(small_model(), [images.transpose(0, 2, 1, 3)])
    with pytest.raises(ValueError, match=r"received \(4, 5, 3\); batch and resize"):
        embed(small_model(), images)
