"""Compares the embedding model with NumPy, and tests the check of embedding models."""

import keras
import numpy as np
import pytest

from pa_keras.models import embedding_model, expect_embedding_model, with_proxies

SIZE = (16, 16)


def pixels(count, seed=0):
    return np.random.default_rng(seed).uniform(0, 255, (count, *SIZE, 3)).astype("float32")


def test_embeddings_are_pooled_projected_and_of_unit_length():
    model = embedding_model("conv4", 24, (48, 32), weights=None)
    images = np.random.default_rng(0).uniform(0, 255, (3, 48, 32, 3)).astype("float32")
    features = np.asarray(model.get_layer("backbone")(images, training=False))
    kernel, bias = model.get_layer("embedding").get_weights()
    pooled = features.mean((1, 2)) + features.max((1, 2))
    projected = pooled @ kernel + bias
    expected = projected / np.linalg.norm(projected, axis=1, keepdims=True)
    np.testing.assert_allclose(model(images, training=False), expected, atol=1e-6)


def test_the_embedding_layer_starts_as_in_the_paper():
    kernel, bias = embedding_model("conv4", 512, SIZE, weights=None).get_layer("embedding").weights
    np.testing.assert_allclose(np.std(kernel), np.sqrt(2 / 512), rtol=0.02)
    np.testing.assert_array_equal(bias, np.zeros(512))


def test_the_seed_repeats_the_embedding_layer_and_the_proxies():
    def start(seed):
        embedder = embedding_model("conv4", 8, SIZE, weights=None, seed=seed)
        model = with_proxies(embedder, 5, seed=seed)
        return embedder.get_layer("embedding").get_weights()[0], model.layers[-1].get_weights()[0]

    for first, again, other in zip(start(1), start(1), start(2), strict=True):
        np.testing.assert_array_equal(first, again)
        assert np.abs(first - other).max() > 0


@pytest.mark.parametrize("name", ["mixed_float16", "mixed_bfloat16"])
def test_embeddings_are_float32_under_mixed_precision(name, policy):
    policy(name)
    model = with_proxies(embedding_model("conv4", 64, SIZE, weights=None), 4)
    embedder = model.get_layer("embedding_model")
    assert embedder.get_layer("backbone").get_layer("conv1").compute_dtype == name[6:]
    embeddings = embedder(pixels(3))
    assert embeddings.dtype == "float32"
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-6)
    assert model(pixels(3)).dtype == "float32"


@pytest.mark.parametrize("embedding_size", [0, -1, 1.5, "512"])
def test_a_wrong_embedding_size(embedding_size):
    with pytest.raises(ValueError, match="Expected embedding_size of 1 or more; received"):
        embedding_model("conv4", embedding_size, SIZE, weights=None)


def test_integers_of_numpy_build_a_model_that_is_saved(tmp_path):
    number = np.int64
    embedder = embedding_model("conv4", number(8), np.array(SIZE), weights=None, seed=number(3))
    model = with_proxies(embedder, number(4), number(2), seed=number(5))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.output_shape == (None, 4, 2)
    same = with_proxies(embedding_model("conv4", 8, SIZE, None, seed=3), 4, 2, seed=5)
    for name in ("embedding_model", "proxies"):
        weights = [each.get_layer(name).get_weights()[-1] for each in (loaded, same)]
        np.testing.assert_array_equal(*weights)


def test_a_wrong_batch_norm():
    with pytest.raises(ValueError, match="one of train, frozen, frozen_statistics; received 'off'"):
        embedding_model("conv4", 8, SIZE, weights=None, batch_norm="off")


class Subclassed(keras.Model):
    def call(self, images):
        return images


INPUTS = [keras.Input((4,)), keras.Input((4,))]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (keras.Model(INPUTS, keras.layers.Add()(INPUTS)), "one output; received one with 2 and 1"),
        (keras.Model(INPUTS[0], [INPUTS[0] * 2, INPUTS[0]]), "one output; received one with 1 and"),
        (keras.Sequential([keras.layers.Dense(3)]), "with keras.Input; received a Sequential"),
        (Subclassed(), "known input shape: .* received a Subclassed without"),
        ("model.keras", "known input shape: .* received a str without"),
        (
            with_proxies(keras.Model(INPUTS[0], INPUTS[0] * 2), 3),
            "the model to train, with proxies",
        ),
    ],
)
def test_what_cannot_have_proxies(model, message):
    with pytest.raises(ValueError, match=message):
        with_proxies(model, 4)
    with pytest.raises(ValueError, match=message):
        expect_embedding_model(model)


def test_what_is_no_embedding_model():
    embedder = embedding_model("conv4", 8, SIZE, weights=None)
    expect_embedding_model(embedder)
    with pytest.raises(ValueError, match="with proxies"):
        expect_embedding_model(with_proxies(embedder, 4))
    with pytest.raises(ValueError, match=r"fixed size, to embeddings .* received \(None, 16, 16"):
        expect_embedding_model(embedder.get_layer("backbone"))
    for shape in ((None, None, 3), (16, 16, 1), (16,)):
        images = keras.Input(shape)
        axes = tuple(range(1, len(shape)))
        model = keras.Model(images, keras.ops.mean(images, axes) if axes else images)
        with pytest.raises(ValueError, match="of a fixed size"):
            expect_embedding_model(model)
