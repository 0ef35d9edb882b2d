"""The embedding model and the model to train, against NumPy and against what may change."""

import keras
import numpy as np
import pytest

from pa_keras import backbones
from pa_keras.models import (
    checksum,
    embedding_model,
    expect_embedding_model,
    in_float32,
    set_trainable,
    with_proxies,
)

SIZE = (16, 16)


def pixels(count, seed=0):
    return np.random.default_rng(seed).uniform(0, 255, (count, *SIZE, 3)).astype("float32")


@pytest.fixture
def policy():
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)


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


def changed_by_training(model):
    """Whether a step changes: a kernel, and gamma, beta, mean and variance of a batch norm."""
    backbone = model.get_layer("embedding_model").get_layer("backbone")
    watched = [backbone.get_layer("conv1"), backbone.get_layer("bn1")]
    before = [weight for layer in watched for weight in layer.get_weights()]
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(pixels(4), np.arange(4), batch_size=4, epochs=1, verbose=0)
    after = [weight for layer in watched for weight in layer.get_weights()]
    return [not np.array_equal(old, new) for old, new in zip(before, after, strict=True)]


@pytest.mark.parametrize(
    ("batch_norm", "expected"),
    [
        ("train", [True, True, True, True, True]),
        ("frozen", [True, False, False, False, False]),
        ("frozen_statistics", [True, True, True, False, False]),
    ],
)
def test_batch_norm_changes_only_what_its_mode_lets(batch_norm, expected):
    embedder = embedding_model("conv4", 8, SIZE, weights=None, batch_norm=batch_norm)
    model = with_proxies(embedder, 4)
    assert changed_by_training(model) == expected
    set_trainable(model, False, batch_norm)
    assert changed_by_training(model) == [False] * 5
    set_trainable(model, True, batch_norm)
    assert changed_by_training(model) == expected


def test_statistics_may_move_while_the_backbone_stands_still():
    model = with_proxies(embedding_model("conv4", 8, SIZE, weights=None), 4)
    set_trainable(model, False, "train", statistics_in_warmup=True)
    assert changed_by_training(model) == [False, False, False, True, True]
    set_trainable(model, True, "train", statistics_in_warmup=True)
    assert changed_by_training(model) == [True] * 5


def test_batch_norm_within_other_layers_is_frozen_too(monkeypatch):
    def nested(name, image_size, weights):
        images = keras.Input((*image_size, 3))
        inner = keras.Sequential(
            [keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization(name="bn")]
        )
        return keras.Model(images, inner(images), name="backbone")

    monkeypatch.setattr(backbones, "build", nested)
    model = with_proxies(embedding_model("any", 8, SIZE, None, batch_norm="frozen"), 4)
    inner = model.get_layer("embedding_model").get_layer("backbone").layers[-1]
    before = inner.layers[-1].get_weights()
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(pixels(4), np.arange(4), batch_size=4, epochs=1, verbose=0)
    for old, new in zip(before, inner.layers[-1].get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("batch_norm", ["train", "frozen", "frozen_statistics"])
def test_a_loaded_model_never_loses_frozen_statistics(batch_norm, tmp_path):
    embedder = embedding_model("conv4", 8, SIZE, weights=None, batch_norm=batch_norm)
    with_proxies(embedder, 4).save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    trained = batch_norm == "train"
    assert changed_by_training(loaded) == [True, trained, trained, trained, trained]


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


@pytest.mark.parametrize("embedding_size", [0, -1, 1.5, "512"])
def test_a_wrong_embedding_size(embedding_size):
    with pytest.raises(ValueError, match="Expected embedding_size of 1 or more; received"):
        embedding_model("conv4", embedding_size, SIZE, weights=None)


def test_a_wrong_batch_norm():
    with pytest.raises(ValueError, match="one of train, frozen, frozen_statistics; received 'off'"):
        embedding_model("conv4", 8, SIZE, weights=None, batch_norm="off")


def test_too_few_classes():
    embedder = embedding_model("conv4", 8, SIZE, weights=None)
    with pytest.raises(ValueError, match="num_classes of 2 or more; received 1"):
        with_proxies(embedder, 1)


def test_a_feature_map_is_no_embedding():
    embedder = embedding_model("conv4", 8, SIZE, weights=None)
    with pytest.raises(ValueError, match="Pool the features before Proxies"):
        with_proxies(embedder.get_layer("backbone"), 4)


def test_the_checksum_tells_models_apart(tmp_path):
    model = embedding_model("conv4", 8, SIZE, weights=None)
    before = checksum(model)
    model.save(tmp_path / "model.keras")
    assert checksum(keras.models.load_model(tmp_path / "model.keras")) == before
    larger = embedding_model("conv4", 8, (32, 16), weights=None)
    larger.set_weights(model.get_weights())
    assert checksum(larger) != before
    kernel, bias = model.get_layer("embedding").get_weights()
    kernel[0, 0] += 1e-6
    model.get_layer("embedding").set_weights([kernel, bias])
    assert checksum(model) != before


@pytest.mark.parametrize("name", ["mixed_bfloat16", "mixed_float16"])
def test_a_float32_copy_of_a_mixed_precision_model(policy, name):
    policy(name)
    mixed = embedding_model("conv4", 8, SIZE, weights=None)
    policy("float32")
    copy = in_float32(mixed)
    assert {layer.compute_dtype for layer in copy._flatten_layers()} == {"float32"}
    plain = embedding_model("conv4", 8, SIZE, weights=None)
    plain.set_weights(mixed.get_weights())
    np.testing.assert_array_equal(copy(pixels(3), training=False), plain(pixels(3), training=False))
    assert in_float32(plain) is plain


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
