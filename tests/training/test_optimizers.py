"""AdamW with two rates against a NumPy trace, and the decays against their definitions."""

import keras
import numpy as np
import pytest

from pa_keras.layers import Proxies
from pa_keras.training import reference_optimizers
from pa_keras.training.optimizers import adamw, decayed, two_rate_adamw


def small_model():
    inputs = keras.Input((3,))
    outputs = Proxies(4, seed=0)(keras.layers.Dense(2, name="embedding")(inputs))
    return keras.Model(inputs, outputs)


def adamw_trace(value, gradients, rate, weight_decay, clip):
    """AdamW as in Loshchilov and Hutter 2019, algorithm 2, with clipping by value."""
    m, v = np.zeros_like(value), np.zeros_like(value)
    for t, gradient in enumerate(gradients, 1):
        g = np.clip(gradient, -clip, clip)
        value = value - rate * weight_decay * value
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        value = value - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return value


def test_three_steps_equal_a_numpy_trace_at_both_rates():
    model = small_model()
    variables = model.trainable_variables
    start = [v.numpy().astype("float64") for v in variables]
    rng = np.random.default_rng(0)
    steps = [[rng.normal(scale=8, size=v.shape) for v in variables] for _ in range(3)]
    optimizer = two_rate_adamw(model, 1e-3, 1e-1, weight_decay=0.01, clip_value=10.0)
    for gradients in steps:
        optimizer.apply([keras.ops.cast(g, "float32") for g in gradients], variables)
    for i, variable in enumerate(variables):
        rate = 1e-1 if variable.path == "proxies/proxies" else 1e-3
        expected = adamw_trace(start[i], [g[i] for g in steps], rate, 0.01, 10.0)
        np.testing.assert_allclose(variable.numpy(), expected, atol=2e-6)


def test_a_model_without_proxies_is_refused():
    inputs = keras.Input((3,))
    with pytest.raises(ValueError, match="with_proxies"):
        two_rate_adamw(keras.Model(inputs, keras.layers.Dense(2)(inputs)), 1e-3, 1e-1)


def test_a_model_that_is_not_built_is_refused():
    model = keras.Sequential([keras.layers.Dense(2), Proxies(4)])
    with pytest.raises(
        ValueError, match="a model that is built; the layer 'proxies' has no weights"
    ):
        two_rate_adamw(model, 1e-3, 1e-1)
    model(np.zeros((1, 3)))
    two_rate_adamw(model, 1e-3, 1e-1)
    with pytest.raises(ValueError, match="with_proxies.* without a built layer 'embedding_model'"):
        reference_optimizers(model, lambda epoch: 1e-3, lambda epoch: 1e-1)


def test_cosine_falls_from_the_peak_to_one_percent():
    rate = decayed(0.5, "cosine", steps_per_epoch=10, epochs=8, first_epoch=3)
    assert [float(rate(0)), float(rate(50))] == pytest.approx([0.5, 0.005])
    assert float(rate(25)) == pytest.approx((0.5 + 0.005) / 2)


@pytest.mark.parametrize("first_epoch", [0, 1, 4, 5, 9])
def test_staircase_counts_epochs_of_the_whole_run(first_epoch):
    rate = decayed(1.0, "staircase", 7, 12, first_epoch, decay_epochs=4, decay_factor=0.5)
    for epoch in range(first_epoch, 12):
        for step in (0, 6):
            steps_of_this_optimizer = (epoch - first_epoch) * 7 + step
            assert float(rate(steps_of_this_optimizer)) == 0.5 ** (epoch // 4)


def test_constant_and_unknown():
    assert decayed(0.1, "constant", 10, 5) == 0.1
    with pytest.raises(ValueError, match="cosine, staircase or constant; received 'cos'"):
        decayed(0.1, "cos", 10, 5)
    with pytest.raises(ValueError, match="decay_epochs of 1 or more; received 0"):
        decayed(0.1, "staircase", 10, 5, decay_epochs=0)


@pytest.mark.parametrize("decay", ["constant", "cosine", "staircase"])
def test_proxies_may_stand_still(decay):
    rate = decayed(0.0, decay, 10, 5, decay_epochs=2)
    assert [float(rate(step)) if callable(rate) else rate for step in (0, 30)] == [0.0, 0.0]


@pytest.mark.parametrize("value", [0, -1.0, float("nan")])
def test_numbers_out_of_their_ranges(value):
    with pytest.raises(ValueError, match=r"decay_factor in \(0, 1\]; received"):
        decayed(0.1, "staircase", 10, 5, decay_factor=value)
    with pytest.raises(ValueError, match="clip_value above 0, or null for no clipping; received"):
        adamw(0.1, clip_value=value)
    if value:
        with pytest.raises(ValueError, match=f"learning_rate of 0 or more; received {value}"):
            decayed(value, "constant", 10, 5)
        with pytest.raises(ValueError, match="weight_decay of 0 or more; received"):
            adamw(0.1, weight_decay=value)
    with pytest.raises(ValueError, match="received 5"):
        decayed(0.1, "staircase", 10, 5, decay_factor=5)
