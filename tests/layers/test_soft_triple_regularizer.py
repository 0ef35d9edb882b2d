"""Compares the regularizer with a loop, and checks that it is finite for merged centers."""

import numpy as np
import pytest
import tensorflow as tf

from pa_keras.layers import Proxies, SoftTripleRegularizer


def test_it_equals_a_loop():
    centers = np.random.default_rng(0).normal(size=(4, 3, 5))
    directions = centers / np.linalg.norm(centers, axis=2, keepdims=True)
    total = sum(
        np.linalg.norm(directions[c, s] - directions[c, t])
        for c in range(4)
        for s in range(3)
        for t in range(s)
    )
    found = SoftTripleRegularizer(0.7)(tf.constant(centers, tf.float32))
    assert float(found) == pytest.approx(0.7 * total / (4 * 3 * 2), rel=1e-4)


def test_merged_centers_have_a_finite_gradient():
    centers = tf.ones((2, 3, 4))
    with tf.GradientTape() as tape:
        tape.watch(centers)
        value = SoftTripleRegularizer()(centers)
    assert np.isfinite(tape.gradient(value, centers)).all()
    assert float(value) < 1e-3


def test_a_single_center_costs_nothing():
    assert float(SoftTripleRegularizer()(tf.ones((2, 1, 4)))) == 0


def test_bad_input():
    with pytest.raises(ValueError, match="strength"):
        SoftTripleRegularizer(-1.0)
    with pytest.raises(ValueError, match="centers_per_class"):
        SoftTripleRegularizer()(tf.ones((2, 4)))
    with pytest.raises(ValueError, match="centers_per_class of 1 or more"):
        Proxies(3, centers_per_class=0)


def test_cosines_of_several_centers_equal_numpy():
    layer = Proxies(4, centers_per_class=3, seed=1)
    x = np.random.default_rng(0).normal(size=(5, 6)).astype("float32")
    found = layer(x).numpy()
    centers = layer.proxies.numpy()
    assert centers.shape == (4, 3, 6) and layer.compute_output_shape((None, 6)) == (None, 4, 3)
    unit = centers / np.linalg.norm(centers, axis=2, keepdims=True)
    expected = np.einsum("bd,ckd->bck", x / np.linalg.norm(x, axis=1, keepdims=True), unit)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_configuration_comes_back():
    layer = Proxies(4, 3, SoftTripleRegularizer(0.5), seed=1)
    copy = Proxies.from_config(layer.get_config())
    assert copy.get_config() == layer.get_config() and copy.regularizer.strength == 0.5
