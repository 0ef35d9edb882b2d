"""AdamW against a NumPy trace; its epsilon, excluded weights, and the operations of its graph."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pa_keras.training import AdamW

SETTINGS = {"learning_rate": 0.1, "weight_decay": 0.01, "epsilon": 1e-3, "clipvalue": 2.0}


def trace(value, gradients):
    """AdamW as in Loshchilov and Hutter 2019, algorithm 2, in float64, clipped by value."""
    m, v = np.zeros_like(value), np.zeros_like(value)
    for t, gradient in enumerate(gradients, 1):
        g = np.clip(gradient, -2, 2)
        value = value - 0.1 * 0.01 * value
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        value = value - 0.1 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-3)
    return value


@pytest.fixture
def start():
    return np.random.default_rng(0).normal(size=(5, 3))


@pytest.fixture
def steps():
    return np.random.default_rng(1).normal(scale=2, size=(4, 5, 3))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_four_steps_equal_a_numpy_trace(start, steps, jit_compile):
    variable, optimizer = keras.Variable(start.astype("float32")), AdamW(**SETTINGS)
    optimizer.build([variable])
    apply = tf.function(
        lambda gradient: optimizer.apply([gradient], [variable]), jit_compile=jit_compile
    )
    for gradient in steps:
        apply(tf.constant(gradient, tf.float32))
    np.testing.assert_allclose(variable.numpy(), trace(start, steps), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_half_precision_rounds_the_weight_alone(start, steps, dtype, jit_compile):
    variable, optimizer = keras.Variable(start, dtype=dtype), AdamW(**SETTINGS)
    optimizer.build([variable])
    apply = tf.function(
        lambda gradient: optimizer.apply([gradient], [variable]), jit_compile=jit_compile
    )
    gradients = np.tile(steps, (5, 1, 1))
    for gradient in gradients:
        apply(tf.constant(gradient, dtype))
    # Each of the 20 steps rounds weights below 4 by at most half a unit in the last place.
    rounding = {"bfloat16": 2.0**-8, "float16": 2.0**-11}[dtype]
    found = keras.ops.convert_to_numpy(keras.ops.cast(variable, "float32"))
    np.testing.assert_allclose(found, trace(start, gradients), atol=20 * 2 * rounding)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_model_of_half_precision_learns(dtype, float32_policy):
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(dtype)
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(8), keras.layers.Dense(1)])
    model.compile(AdamW(1e-2, gradient_accumulation_steps=2), "mse", jit_compile=False)
    x = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
    history = model.fit(x, x.sum(axis=1), 16, epochs=20, verbose=0).history["loss"]
    assert history[-1] < history[0] / 2


def test_a_weight_left_out_of_the_decay(start, steps):
    variables = [keras.Variable(start, dtype="float32", name=name) for name in ("kernel", "bias")]
    optimizer, without = AdamW(**SETTINGS), AdamW(**{**SETTINGS, "weight_decay": 0.0})
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    expected = keras.Variable(start, dtype="float32")
    for gradient in steps.astype("float32"):
        optimizer.apply([tf.constant(gradient)] * 2, variables)
        without.apply([tf.constant(gradient)], [expected])
    np.testing.assert_array_equal(variables[1], expected)
    np.testing.assert_allclose(variables[0], trace(start, steps), rtol=1e-5, atol=1e-6)


def test_gradients_that_are_accumulated(start, steps):
    variable = keras.Variable(start, dtype="float32")
    optimizer = AdamW(**SETTINGS, gradient_accumulation_steps=2)
    for gradient in np.repeat(steps, 2, axis=0).astype("float32"):
        optimizer.apply([tf.constant(gradient)], [variable])
    np.testing.assert_allclose(variable, trace(start, steps), rtol=1e-5, atol=1e-6)


def test_amsgrad_is_refused(start):
    with pytest.raises(ValueError, match=r"amsgrad=False; received True.*keras.optimizers"):
        AdamW(amsgrad=True).build([keras.Variable(start)])


def test_rows_of_a_gradient_are_those_of_a_whole_one(start):
    rows = tf.IndexedSlices(tf.ones((2, 3)), tf.constant([1, 4]), tf.constant([5, 3]))
    ends = []
    for gradient in (rows, tf.convert_to_tensor(rows)):
        variable = keras.Variable(start, dtype="float32")
        AdamW(0.1).apply([gradient], [variable])
        ends.append(variable.numpy())
    np.testing.assert_array_equal(*ends)


def test_each_weight_is_moved_by_one_operation(start):
    variables = [keras.Variable(start, dtype="float32") for _ in range(3)]
    optimizer = AdamW(**{**SETTINGS, "weight_decay": 0.0, "clipvalue": None})
    optimizer.build(variables)
    step = tf.function(lambda: optimizer.apply([tf.ones((5, 3))] * 3, variables))
    operations = step.get_concrete_function().graph.get_operations()
    of_size = [op for op in operations if any(tuple(o.shape) == (5, 3) for o in op.outputs)]
    assert {op.type for op in of_size} <= {"Const", "Identity", "IdentityN"}, "all in place"
    assert sum(op.type == "ResourceApplyAdam" for op in operations) == 3


def test_epsilon_stands_where_pytorch_has_it():
    def step_of(kind):
        variable = keras.Variable([1.0])
        kind(0.1, weight_decay=0.0, epsilon=1e-8).apply([keras.ops.array([1e-8])], [variable])
        return 1 - float(variable[0])

    assert step_of(AdamW) == pytest.approx(0.1 / 2, rel=1e-5)
    assert step_of(keras.optimizers.AdamW) == pytest.approx(0.1 / (1 + 1000**0.5), rel=1e-3)


def test_it_can_be_saved_and_loaded():
    optimizer = AdamW(1e-3, weight_decay=1e-4, epsilon=1e-8, clipvalue=10)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    assert isinstance(again, AdamW)
    assert again.get_config() == optimizer.get_config()


def test_averages_of_skipped_steps_are_not_taken_over():
    """With loss scaling, a step whose gradients overflow is skipped; the averages are still 0."""
    variable = keras.Variable([1.0, 2.0])
    optimizer = keras.optimizers.LossScaleOptimizer(
        AdamW(0.1, use_ema=True, ema_momentum=0.9), initial_scale=2.0
    )
    optimizer.build([variable])
    optimizer.apply([tf.constant([np.inf, 1.0])])
    optimizer.finalize_variable_values([variable])
    np.testing.assert_array_equal(variable, [1.0, 2.0])
    optimizer.apply([tf.constant([1.0, 1.0])])
    moved = variable.numpy()
    assert (moved < [1.0, 2.0]).all()
    optimizer.finalize_variable_values([variable])
    np.testing.assert_allclose(variable, moved, rtol=1e-6)
