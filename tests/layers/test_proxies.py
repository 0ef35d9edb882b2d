"""Compares the `Proxies` layer with NumPy, under every dtype policy, and saves and loads it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pa_keras.layers import Proxies
from pa_keras.losses import ProxyAnchorLoss


def test_cosines_equal_numpy():
    layer = Proxies(7, seed=3)
    embeddings = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    cosines = layer(embeddings).numpy()
    proxies = layer.proxies.numpy()
    for i, x in enumerate(embeddings):
        for c, p in enumerate(proxies):
            expected = x @ p / (np.linalg.norm(x) * np.linalg.norm(p))
            assert cosines[i, c] == pytest.approx(expected, abs=1e-6)


def float64_cosines(x, p):
    """Computes the formula, for p of any rank."""
    x, p = (v / np.sqrt((v**2).sum(-1, keepdims=True) + 1e-12) for v in (x, p))
    return np.tensordot(x, p, (1, -1))


@pytest.mark.parametrize("centers", [None, 2])
@pytest.mark.parametrize("jit", [None, False, True])
def test_gradients_equal_differences_in_float64(centers, jit):
    rng = np.random.default_rng(0)
    layer = Proxies(3, centers)
    layer.build((None, 4))
    x, p = rng.normal(size=(5, 4)), 2 * rng.normal(size=layer.proxies.shape)
    layer.proxies.assign(p)
    weights = rng.normal(size=(5, *layer.proxies.shape[:-1]))

    def gradients(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = tf.reduce_sum(layer(x) * tf.constant(weights, tf.float32))
        return tape.gradient(value, [x, layer.proxies.value])

    step = gradients if jit is None else tf.function(gradients, jit_compile=jit)
    found = step(tf.constant(x, tf.float32))
    for i, values in enumerate((x, p)):
        expected = np.zeros_like(values)
        for place in np.ndindex(values.shape):
            sums = []
            for change in (1e-6, -1e-6):
                moved = [x.copy(), p.copy()]
                moved[i][place] += change
                sums.append((float64_cosines(*moved) * weights).sum())
            expected[place] = (sums[0] - sums[1]) / 2e-6
        np.testing.assert_allclose(found[i], expected, atol=1e-5)


def test_second_derivative_equals_the_difference_of_gradients():
    rng = np.random.default_rng(0)
    layer = Proxies(3, seed=0)
    x, direction = (tf.constant(rng.normal(size=(5, 4)), tf.float32) for _ in range(2))

    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = tf.reduce_sum(tf.square(layer(x)))
        return tape.gradient(value, x)

    with tf.GradientTape() as tape:
        tape.watch(x)
        along = tf.reduce_sum(gradient(x) * direction)
    expected = (gradient(x + 1e-2 * direction) - gradient(x - 1e-2 * direction)) / 2e-2
    np.testing.assert_allclose(tape.gradient(along, x), expected, atol=3e-2)


def test_a_zero_embedding_gives_zeros():
    assert not Proxies(3)(np.zeros((2, 4), "float32")).numpy().any()


def test_proxies_start_with_the_papers_deviation():
    layer = Proxies(50, seed=1)
    layer.build((None, 4000))
    assert layer.proxies.numpy().std() == pytest.approx(np.sqrt(2 / 50), rel=0.01)
    assert np.abs(layer.proxies.numpy()).max() > 3 * np.sqrt(2 / 50)  # not truncated


def test_a_seed_repeats_the_start():
    starts = []
    for seed in (1, 1, 2):
        layer = Proxies(3, seed=seed)
        layer.build((None, 4))
        starts.append(layer.proxies.numpy())
    assert (starts[0] == starts[1]).all() and (starts[0] != starts[2]).any()


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16"])
def test_float32_under_every_policy(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        layer = Proxies(3)
        cosines = layer(np.ones((2, 4), "float16"))
    finally:
        keras.config.set_dtype_policy(before)
    assert cosines.dtype == "float32" and layer.proxies.dtype == "float32"


def test_round_trip_of_a_trained_model(tmp_path):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, Proxies(3, seed=1)(keras.layers.Dense(2)(inputs)))
    model.compile("adam", ProxyAnchorLoss(num_classes=3), jit_compile=False)
    x, y = np.random.default_rng(0).normal(size=(6, 4)), np.arange(6) % 3
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))
    assert again.evaluate(x, y, verbose=0) == model.evaluate(x, y, verbose=0)
    assert again.layers[-1].get_config() == model.layers[-1].get_config()


def test_bad_input():
    with pytest.raises(ValueError, match="num_classes of 2"):
        Proxies(1)
    for number in (2.5, 5.0, "5", None):
        with pytest.raises(ValueError, match="num_classes of 2 or more; received"):
            Proxies(number)
    with pytest.raises(ValueError, match="centers_per_class of 1 or more; received 2.5"):
        Proxies(3, 2.5)
    with pytest.raises(ValueError, match="seed as an integer; received 0.5"):
        Proxies(3, seed=0.5)
    with pytest.raises(ValueError, match="Pool the features"):
        Proxies(3)(np.zeros((2, 5, 5, 4)))
