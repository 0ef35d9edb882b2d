"""AdamW on the backend that is set: its steps against float64 and PyTorch, and two rates in `fit`.

KERAS_BACKEND=jax python -m pytest tests/backends/test_adamw_anywhere.py
"""

import sys

import keras
import numpy as np
import pytest
from keras import ops

from pa_keras import Proxies, ProxyAnchorLoss
from pa_keras.training import AdamW, reference_optimizers, two_rate_adamw

SETTINGS = {"learning_rate": 0.1, "weight_decay": 0.01, "epsilon": 1e-3, "clipvalue": 2.0}


def moved(value, gradients, rate=0.1, decay=0.01, epsilon=1e-3, clip=2.0):
    """AdamW as in Loshchilov and Hutter 2019, algorithm 2, in float64, clipped by value.

    A gradient is an array, or a function of the value.
    """
    m, v = np.zeros_like(value), np.zeros_like(value)
    for t, gradient in enumerate(gradients, 1):
        gradient = gradient(value) if callable(gradient) else gradient
        g = np.clip(gradient, -clip, clip)
        value = value - rate * decay * value
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        value = value - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + epsilon)
    return value


def as_numpy(variable):
    return ops.convert_to_numpy(ops.cast(variable, "float32"))


def apply(optimizer, gradients, variables, dtype="float32"):
    for gradient in gradients:
        optimizer.apply([ops.cast(gradient, dtype)] * len(variables), variables)


@pytest.fixture
def start():
    return np.random.default_rng(0).normal(size=(5, 3))


@pytest.fixture
def steps():
    return np.random.default_rng(1).normal(scale=2, size=(4, 5, 3))


def test_eager_steps_equal_float64(start, steps):
    variable = keras.Variable(start, dtype="float32")
    apply(AdamW(**SETTINGS), steps, [variable])
    np.testing.assert_allclose(as_numpy(variable), moved(start, steps), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_rounds_the_weight_alone(start, steps, dtype):
    variable, optimizer = keras.Variable(start, dtype=dtype), AdamW(**SETTINGS)
    gradients = np.tile(steps, (5, 1, 1))
    apply(optimizer, gradients, [variable], dtype)
    moments = [each for each in optimizer.variables if each.path.endswith(("momentum", "velocity"))]
    assert len(moments) == 2 and {each.dtype for each in moments} == {"float32"}
    # Each of the 20 steps rounds weights below 4 by at most half a unit in the last place.
    rounding = {"bfloat16": 2.0**-8, "float16": 2.0**-11}[dtype]
    expected = moved(start, gradients)
    np.testing.assert_allclose(as_numpy(variable), expected, atol=20 * 2 * rounding)


def test_equals_pytorch(start, steps):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    weight = torch.nn.Parameter(torch.tensor(start, dtype=torch.float32))
    theirs = torch.optim.AdamW([weight], lr=0.1, weight_decay=0.01, eps=1e-8)
    variable = keras.Variable(start, dtype="float32")
    apply(AdamW(0.1, weight_decay=0.01, epsilon=1e-8), steps, [variable])
    for gradient in steps:
        weight.grad = torch.tensor(gradient, dtype=torch.float32)
        theirs.step()
    np.testing.assert_allclose(as_numpy(variable), weight.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_epsilon_is_added_after_the_correction():
    variable = keras.Variable([1.0])
    apply(AdamW(0.1, weight_decay=0.0, epsilon=1e-8), [np.array([1e-8])], [variable])
    assert 1 - float(as_numpy(variable)[0]) == pytest.approx(0.1 / 2, rel=1e-4)


def test_weights_left_out_of_the_decay_and_rates_by_path(start, steps):
    variables = [keras.Variable(start, dtype="float32", name=name) for name in ("kernel", "bias")]
    optimizer = AdamW(**SETTINGS, rate_factors={variables[0].path: 0.5})
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    apply(optimizer, steps, variables)
    np.testing.assert_allclose(as_numpy(variables[0]), moved(start, steps, rate=0.05), rtol=1e-4)
    expected = moved(start, steps, decay=0.0)
    np.testing.assert_allclose(as_numpy(variables[1]), expected, rtol=1e-4)


class Linear:
    """Least squares, whose gradient 2 X' (X w - y) / N is known, in `fit`."""

    def __init__(self):
        rng = np.random.default_rng(2)
        self.x = rng.normal(size=(16, 6)).astype("float32")
        self.y = rng.normal(scale=4, size=(16, 1)).astype("float32")
        self.model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1, use_bias=False)])
        self.start = as_numpy(self.model.weights[0]).astype("float64")

    def fit(self, optimizer, epochs):
        self.model.compile(optimizer, "mse")
        self.model.fit(self.x, self.y, batch_size=16, epochs=epochs, verbose=0)
        return as_numpy(self.model.weights[0])

    def gradient(self, value):
        x, y = self.x.astype("float64"), self.y.astype("float64")
        return 2 * x.T @ (x @ value - y) / len(x)


def test_steps_of_fit_equal_float64():
    linear = Linear()
    found = linear.fit(AdamW(**SETTINGS), epochs=8)
    expected = moved(linear.start, [linear.gradient] * 8)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_gradients_accumulated_in_fit():
    linear = Linear()
    found = linear.fit(AdamW(**SETTINGS, gradient_accumulation_steps=2), epochs=6)
    expected = moved(linear.start, [linear.gradient] * 3)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_averages_of_the_weights_in_fit():
    linear = Linear()
    found = linear.fit(AdamW(**SETTINGS, use_ema=True, ema_momentum=0.5), epochs=3)
    trail = [moved(linear.start, [linear.gradient] * number) for number in (1, 2, 3)]
    average = trail[0]  # Keras starts the average at the first step
    for value in trail[1:]:
        average = 0.5 * average + 0.5 * value
    np.testing.assert_allclose(found, average, rtol=1e-4, atol=1e-5)


def two_weights():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,))
    return keras.Model(inputs, Proxies(4, seed=0)(keras.layers.Dense(3, name="embedding")(inputs)))


def after_fit(rate, proxies_rate):
    model = two_weights()
    before = {weight.path: as_numpy(weight) for weight in model.weights}
    model.compile(two_rate_adamw(model, rate, proxies_rate), ProxyAnchorLoss())
    x = np.random.default_rng(3).normal(size=(16, 6)).astype("float32")
    model.fit(x, np.arange(16) % 4, batch_size=16, epochs=1, verbose=0)
    return {weight.path: np.abs(as_numpy(weight) - before[weight.path]) for weight in model.weights}


def test_two_rates_in_fit():
    # The first step of Adam moves each component by the rate, whatever its gradient.
    distances = after_fit(1e-3, 1e-1)
    assert len(distances) == 3
    for path, distance in distances.items():
        rate = 1e-1 if path == "proxies/proxies" else 1e-3
        np.testing.assert_allclose(distance, rate, rtol=2e-2)
    assert after_fit(1e-3, 0.0)["proxies/proxies"].max() == 0


def test_the_optimizer_of_the_authors_trains():
    from pa_keras import embedding_model, with_proxies

    model = with_proxies(embedding_model("conv4", 4, (16, 16), weights=None, seed=0), 4)
    images = np.random.default_rng(0).uniform(0, 255, (16, 16, 16, 3)).astype("float32")
    phase, losses = reference_optimizers(model, lambda epoch: 1e-3, lambda epoch: 1e-1), []
    for epoch in (0, 2):
        model.compile(phase(epoch), ProxyAnchorLoss())
        history = model.fit(images, np.arange(16) % 4, batch_size=16, epochs=2, verbose=0).history
        losses += history["loss"]
    assert losses[-1] < losses[0]


# Keras 3.15 saves variables of TensorFlow in a way that NumPy 2 deprecates.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy")
def test_training_continues_from_a_file(tmp_path):
    alone, again = Linear(), Linear()
    again.model.set_weights([alone.start.astype("float32")])
    expected = alone.fit(AdamW(**SETTINGS), epochs=4)
    again.fit(AdamW(**SETTINGS), epochs=2)
    again.model.save(tmp_path / "half.keras")
    loaded = keras.saving.load_model(tmp_path / "half.keras")
    assert isinstance(loaded.optimizer, AdamW)
    loaded.fit(again.x, again.y, batch_size=16, epochs=2, verbose=0)
    np.testing.assert_allclose(as_numpy(loaded.weights[0]), expected, rtol=1e-5)


def test_other_backends_never_import_tensorflow():
    if keras.backend.backend() == "tensorflow":
        pytest.skip("TensorFlow is the backend")
    assert "pa_keras.training.fused_adamw" not in sys.modules
