"""`--loss NAME`: each loss gets its own settings, batches, proxies and optimizer."""

from typing import get_args

import keras
import numpy as np
import pytest

from pa_keras.config import BatchConfig, FitConfig, LossName, LossOptions
from pa_keras.layers import Proxies
from pa_keras.models import embedding_model
from pa_keras.runs.loss import (
    KINDS,
    check_pairs,
    make_loss,
    make_optimizer,
    make_training_model,
    resolved,
)

PAIRS = [name for name, kind in KINDS.items() if kind.is_of_pairs]


def config(loss="proxy_anchor", options=None, **batches):
    return FitConfig(loss=loss, loss_options=LossOptions(**(options or {})),
                     batches=BatchConfig(**{"batch_size": 12, **batches}))  # fmt: skip


def test_every_name_has_a_loss_and_every_loss_a_name():
    from pa_keras import losses

    assert set(KINDS) == set(get_args(LossName))
    classes = {name for name in losses.__all__ if name.endswith("Loss")}
    assert {kind.make.__name__ for kind in KINDS.values()} == classes


@pytest.mark.parametrize("name", KINDS)
def test_each_takes_what_its_model_gives(name, float32_policy):
    settings = resolved(config(name))
    embedder = embedding_model("conv4", 8, (16, 16), weights=None)
    model = make_training_model(settings.loss, settings.loss_options, embedder, 3)
    loss = make_loss(settings.loss, settings.loss_options, 3)
    optimizer = make_optimizer(settings, model, 1e-3, 1e-1)
    images = np.random.default_rng(0).uniform(0, 255, (12, 16, 16, 3)).astype("float32")
    labels = np.repeat([0, 1, 2], 4)
    model.compile(optimizer, loss, jit_compile=False)
    before = [weight.numpy() for weight in model.trainable_variables]
    model.fit(images, labels, 12, epochs=3, verbose=0)
    moved = [(a != b.numpy()).any() for a, b in zip(before, model.trainable_variables, strict=True)]
    assert all(moved), "every weight learns"
    has_proxies = any(isinstance(layer, Proxies) for layer in model.layers)
    assert has_proxies == (name not in PAIRS)
    assert isinstance(optimizer, keras.optimizers.MultiOptimizer) == has_proxies


def test_defaults_are_written_out():
    options = resolved(config("multi_similarity", {"alpha": 3.0})).loss_options
    assert (options.alpha, options.beta, options.base, options.epsilon) == (3.0, 50.0, 0.5, 0.1)
    assert options.margin is None and options.scale is None
    assert resolved(config("soft_triple")).loss_options.centers_per_class == 10
    of_sub_centers = resolved(config("sub_center_arcface")).loss_options
    assert of_sub_centers.centers_per_class == 3 and of_sub_centers.centers_strength is None
    again = resolved(resolved(config("soft_triple")))
    assert again == resolved(config("soft_triple")), "a run's own config is resolved already"


def test_settings_reach_the_loss_and_its_proxies():
    settings = resolved(config("soft_triple", {"gamma": 0.3, "centers_per_class": 4,
                                               "centers_strength": 0.7}))  # fmt: skip
    assert make_loss(settings.loss, settings.loss_options, 3).gamma == 0.3
    embedder = embedding_model("conv4", 8, (16, 16), weights=None)
    model = make_training_model("soft_triple", settings.loss_options, embedder, 3)
    layer = model.get_layer("proxies")
    assert layer.centers_per_class == 4 and layer.regularizer.strength == 0.7
    settings = resolved(config("sub_center_arcface", {"centers_per_class": 4}))
    model = make_training_model("sub_center_arcface", settings.loss_options, embedder, 3)
    layer = model.get_layer("proxies")
    assert layer.centers_per_class == 4 and layer.regularizer is None
    assert make_loss("triplet", LossOptions(mining="hard"), 3).mining == "hard"


def test_a_memory_of_earlier_batches():
    embedder = embedding_model("conv4", 8, (16, 16), weights=None)
    settings = resolved(config("contrastive", {"memory_size": 64, "memory_warm_up_steps": 5}))
    model = make_training_model("contrastive", settings.loss_options, embedder, 3)
    layer = model.get_layer("memory")
    assert (layer.size, layer.warm_up_steps) == (64, 5)
    options = resolved(config("contrastive")).loss_options
    assert (options.memory_size, options.memory_warm_up_steps) == (0, 1000)
    with pytest.raises(ValueError, match="at least batches.batch_size=12, .*; received 11"):
        resolved(config("contrastive", {"memory_size": 11}))
    with pytest.raises(ValueError, match="triplet, which has margin, mining; .*memory_size"):
        resolved(config("triplet", {"memory_size": 64}))


def test_a_setting_of_another_loss():
    with pytest.raises(ValueError, match="triplet, which has margin, mining; .*loss_options.alpha"):
        resolved(config("triplet", {"alpha": 1.0}))
    with pytest.raises(ValueError, match="n_pair, which has none"):
        resolved(config("n_pair", {"margin": 1.0}))


@pytest.mark.parametrize(
    ("loss", "batches", "expected"),
    [
        ("proxy_anchor", {}, ("random", None, None)),
        ("proxy_anchor", {"images_per_class": 3}, ("balanced", 4, 3)),
        ("proxy_anchor", {"sampling": "balanced"}, ("balanced", 3, 4)),
        ("triplet", {"batch_size": 90}, ("balanced", 18, 5)),
        ("triplet", {}, ("balanced", 3, 4)),  # 12 is not a multiple of 5
        ("n_pair", {}, ("balanced", 6, 2)),
        ("triplet", {"batch_size": 4}, ("balanced", 2, 2)),  # a single class has no negatives
        ("triplet", {"classes_per_batch": 2}, ("balanced", 2, 6)),
        ("triplet", {"sampling": "random"}, ("random", None, None)),
        ("proxy_anchor", {"images_per_class": 1}, ("balanced", 12, 1)),
    ],
)
def test_sampling(loss, batches, expected):
    found = resolved(config(loss, **batches)).batches
    assert (found.sampling, found.classes_per_batch, found.images_per_class) == expected


def test_sampling_that_contradicts_itself():
    with pytest.raises(ValueError, match="neither classes_per_batch nor images_per_class"):
        resolved(config(sampling="random", images_per_class=2))
    with pytest.raises(ValueError, match="classes_per_batch of at least 1; received 0"):
        resolved(config(classes_per_batch=0))


def test_pairs_need_two_images_of_a_class(caplog):
    def check(labels, loss="triplet", **batches):
        check_pairs(loss, resolved(config(loss, **batches)).batches, np.array(labels))

    with pytest.raises(ValueError, match=r"one image each.*proxy loss, such as proxy_anchor"):
        check(range(12))
    check(range(12), "proxy_anchor")
    assert not caplog.records
    check([0] * 4 + [1] * 3 + [2])
    assert "2 of 3 classes have fewer than 4 images" in caplog.text
    assert "Random batches" not in caplog.text
    check([0, 0, 1, 1], sampling="random")
    assert "Random batches may have no two images of a class, which triplet rejects" in caplog.text


@pytest.mark.parametrize(
    "loss", ["proxy_anchor", "proxy_nca", "soft_triple", "arcface", "sub_center_arcface"]
)
def test_the_multiplier_is_for_the_proxies_of_every_loss(loss, float32_policy):
    settings = resolved(config(loss))
    embedder = embedding_model("conv4", 8, (16, 16), weights=None)
    model = make_training_model(settings.loss, settings.loss_options, embedder, 3)
    optimizer = make_optimizer(settings, model, 1e-3, 0.5)
    before = [weight.numpy() for weight in model.trainable_variables]
    optimizer.apply([np.ones_like(weight) for weight in before], model.trainable_variables)
    for old, weight in zip(before, model.trainable_variables, strict=True):
        # The first step of Adam is as large as its learning rate, for any gradient.
        expected = 0.5 if weight.path == "proxies/proxies" else 1e-3
        np.testing.assert_allclose(old - weight.numpy(), expected, rtol=0.01, atol=1e-5)


@pytest.mark.parametrize(
    ("loss", "batches"),
    [
        ("n_pair", {"batch_size": 75}),
        ("triplet", {"batch_size": 77}),
        ("triplet", {"images_per_class": 1}),
        ("triplet", {"images_per_class": 12}),
        ("triplet", {"classes_per_batch": 1}),
        ("triplet", {"batch_size": 5}),
        ("triplet", {"classes_per_batch": 100}),
        ("proxy_anchor", {"images_per_class": 100}),
    ],
)
def test_a_batch_that_cannot_be_balanced(loss, batches):
    with pytest.raises(ValueError, match="Choose another batch_size that"):
        resolved(config(loss, **batches))
