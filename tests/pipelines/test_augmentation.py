"""Tests of augmentation by the name of a layer."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pa_keras.pipelines import make_augmentation, repeats

IMAGES = np.random.default_rng(0).uniform(0, 255, (3, 24, 20, 3)).astype(np.float32)


@pytest.mark.parametrize("name", ["RandAugment", "rand_augment", "random_erasing", "aug_mix"])
def test_the_seed_alone_decides(name):
    augment = tf.function(make_augmentation(name))
    first = augment(IMAGES, tf.constant([1, 2])).numpy()
    second = augment(IMAGES, tf.constant([1, 3])).numpy()
    np.testing.assert_array_equal(augment(IMAGES, tf.constant([1, 2])), first)
    again = tf.function(make_augmentation(name))
    np.testing.assert_array_equal(again(IMAGES, tf.constant([1, 2])), first)
    # In eager mode, AugMix adds in another order.
    eager = make_augmentation(name)(IMAGES, tf.constant([1, 2]))
    np.testing.assert_allclose(eager, first, rtol=1e-6)
    assert np.abs(first - second).max() > 1
    assert first.shape == IMAGES.shape
    assert first.dtype == np.float32
    assert first.min() >= 0 and first.max() <= 255


def test_options_reach_the_layer():
    augment = make_augmentation("RandomBrightness", {"factor": (0.5, 0.5)})
    brighter = augment(IMAGES, tf.constant([0, 0]))
    np.testing.assert_allclose(brighter, np.minimum(IMAGES + 127.5, 255), atol=1e-3)


def test_keras_cv_layer():
    augment = make_augmentation(
        "keras_cv.RandomCutout", {"height_factor": (0.5, 0.5), "width_factor": (0.5, 0.5)}
    )
    result = augment(IMAGES, tf.constant([0, 0])).numpy()
    # The cutout is a quarter of the image. Even if centred on a corner, a quarter of it is inside.
    assert 0.04 < np.mean(result == 0) < 0.3


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("RandomBrightness", {"factor": (0.1, 0.1)}),
        ("RandAugment", {}),
        ("keras_cv.RandomBrightness", {"factor": (0.1, 0.1)}),
    ],
)
def test_mixed_precision_is_not_for_augmentation(name, options):
    policy = keras.config.dtype_policy()
    seed = tf.constant([0, 0])
    expected = make_augmentation(name, options)(IMAGES, seed)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        result = make_augmentation(name, options)(IMAGES, seed)
    finally:
        keras.config.set_dtype_policy(policy)
    np.testing.assert_allclose(result, expected, atol=1e-3)


def test_which_layers_repeat():
    assert repeats("rand_augment") and not repeats("keras_cv.RandomCutout")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (keras.layers.Rescaling(2.0), None, "by its name, .*received <Rescaling"),
        ("RandAugmnt", None, "the nearest: RandAugment"),
        ("keras_cv.Cutout", None, "the nearest: RandomCutout"),
        ("MixUp", None, "keeps the label"),
        ("cut_mix", None, "keeps the label"),
        ("RandomBrightness", None, "missing .*'factor'"),
        ("RandAugment", {"strength": 3}, "options that RandAugment takes; received .*strength"),
    ],
)
def test_bad_names_and_options(name, options, message):
    with pytest.raises(ValueError, match=message):
        make_augmentation(name, options)


def test_a_layer_that_changes_the_size():
    augment = make_augmentation("CenterCrop", {"height": 10, "width": 10})
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match="not compatible"):
        augment(IMAGES, tf.constant([0, 0]))
