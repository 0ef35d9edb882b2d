"""Which weights of batch normalization a training step changes."""

import keras
import numpy as np
import pytest

from pa_keras import backbones
from pa_keras.models import embedding_model, set_trainable, with_proxies

SIZE = (16, 16)


def pixels(count, seed=0):
    return np.random.default_rng(seed).uniform(0, 255, (count, *SIZE, 3)).astype("float32")


def changed_by_training(model):
    """Whether a step changes a kernel, and gamma, beta, mean and variance of a batch norm."""
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
