"""Compares the model to train with NumPy."""

import keras
import numpy as np
import pytest

from pa_keras.models import embedding_model, with_proxies

SIZE = (16, 16)


def pixels(count, seed=0):
    return np.random.default_rng(seed).uniform(0, 255, (count, *SIZE, 3)).astype("float32")


def test_the_trained_model_holds_the_embedding_model_and_the_proxies(tmp_path):
    embedder = embedding_model("conv4", 8, SIZE, weights=None)
    model = with_proxies(embedder, 5)
    assert model.get_layer("embedding_model") is embedder
    assert model.output_shape == (None, 5)
    proxies = model.get_layer("proxies").get_weights()[0]
    unit = proxies / np.linalg.norm(proxies, axis=1, keepdims=True)
    cosines = np.asarray(embedder(pixels(3))) @ unit.T
    np.testing.assert_allclose(model(pixels(3)), cosines, atol=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(pixels(3)), cosines, atol=1e-5)


def test_too_few_classes():
    embedder = embedding_model("conv4", 8, SIZE, weights=None)
    with pytest.raises(ValueError, match="num_classes of 2 or more; received 1"):
        with_proxies(embedder, 1)


def test_a_feature_map_is_no_embedding():
    embedder = embedding_model("conv4", 8, SIZE, weights=None)
    with pytest.raises(ValueError, match="Pool the features before Proxies"):
        with_proxies(embedder.get_layer("backbone"), 4)
