"""Layer-wise learning-rate decay: the ratio of the updates of the blocks is the decay."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from pa_keras.models import backbone_blocks, embedding_model, with_proxies
from pa_keras.training import (
    AdamW,
    adamw,
    layer_decay_factors,
    reference_optimizers,
    two_rate_adamw,
)
from pa_keras.training.checkpoint import restore_checkpoint, write_checkpoint

RATE, PROXIES_RATE, DECAY = 1e-3, 1e-1, 0.5


def make_model():
    keras.utils.set_random_seed(0)
    return with_proxies(embedding_model("conv4", 4, (16, 16), weights=None), 3)


def optimizer_of(kind, model, rate=RATE, weight_decay=0.0):
    options = weight_decay, None, layer_decay_factors(model, DECAY)
    match kind:
        case "pairs":
            return adamw(rate, *options)
        case "proxies":
            return two_rate_adamw(model, rate, PROXIES_RATE, *options)
    return reference_optimizers(model, lambda _: rate, lambda _: PROXIES_RATE, *options)(0)


def block_of(model):
    """The number of the block of each weight of the backbone, by its path."""
    blocks = backbone_blocks(model.get_layer("embedding_model"))
    return {
        weight.path: place
        for place, block in enumerate(blocks)
        for layer in block
        for weight in layer.weights
    }


def rate_of(variable, model, kind, rate=RATE):
    place = block_of(model).get(variable.path)
    if place is not None:
        return rate * DECAY ** (4 - place)
    is_faster = variable.path == "proxies/proxies" and kind != "pairs"
    return PROXIES_RATE if is_faster else rate


def changes(model, optimizer, gradient, steps=1):
    """The changes of the weights by steps with the same gradient in each component."""
    variables = model.trainable_variables
    for variable in variables:
        variable.assign(np.ones(variable.shape))
    before = [variable.numpy() for variable in variables]
    for _ in range(steps):
        optimizer.apply([keras.ops.full(v.shape, gradient) for v in variables], variables)
    return [old - new.numpy() for old, new in zip(before, variables, strict=True)]


@pytest.mark.parametrize("kind", ["pairs", "proxies", "reference"])
def test_the_first_step_of_adam_is_the_rate_of_the_block(kind):
    model = make_model()
    found = changes(model, optimizer_of(kind, model), 1.0)
    for variable, change in zip(model.trainable_variables, found, strict=True):
        np.testing.assert_allclose(change, rate_of(variable, model, kind), rtol=3e-3)


@pytest.mark.parametrize("kind", ["pairs", "proxies", "reference"])
def test_a_weight_decays_at_its_own_rate(kind):
    model = make_model()
    found = changes(model, optimizer_of(kind, model, weight_decay=0.5), 0.0)
    for variable, change in zip(model.trainable_variables, found, strict=True):
        np.testing.assert_allclose(change, 0.5 * rate_of(variable, model, kind), rtol=3e-3)


def test_the_blocks_follow_a_schedule():
    model = make_model()
    stairs = keras.optimizers.schedules.PiecewiseConstantDecay([0], [RATE, 3 * RATE])
    found = changes(model, optimizer_of("proxies", model, stairs), 1.0, steps=2)
    for variable, change in zip(model.trainable_variables, found, strict=True):
        if variable.path != "proxies/proxies":
            expected = 4 * rate_of(variable, model, "proxies")
            np.testing.assert_allclose(change, expected, rtol=3e-3)


def test_a_resumed_optimizer_continues_bit_for_bit(tmp_path):
    steps = np.random.default_rng(0).normal(size=4)
    models = [make_model(), make_model()]
    for model in models:
        model.compile(optimizer_of("proxies", model), "mse")
        model.optimizer.build(model.trainable_variables)
    first, second = models
    for step in steps[:2]:
        apply(first, step)
    checkpoint = write_checkpoint(first, tmp_path, 1, 0, 1.0, None)
    restore_checkpoint(second, tmp_path, checkpoint)
    for model in models:
        for step in steps[2:]:
            apply(model, step)
    for ours, theirs in zip(first.weights, second.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def apply(model, step):
    variables = model.trainable_variables
    model.optimizer.apply([keras.ops.full(v.shape, step) for v in variables], variables)


def test_no_decay_is_no_factor_and_a_decay_out_of_range_is_refused():
    model = make_model()
    assert layer_decay_factors(model, 1.0) == {}
    for value in (0, -0.5, 1.5, float("nan")):
        with pytest.raises(ValueError, match=r"layer_decay in \(0, 1\]; received"):
            layer_decay_factors(model, value)


def test_factors_are_saved_with_the_optimizer():
    with pytest.raises(ValueError, match="rate_factors of 0 or more; received -1 for a"):
        AdamW(rate_factors={"a": -1})
    again = AdamW.from_config(AdamW(rate_factors={"a": 0.5}).get_config())
    assert again.rate_factors == {"a": 0.5}


@pytest.mark.large
def test_two_replicas_step_as_one_device_does():
    script = Path(__file__).with_name("fine_tuning_on_replicas.py")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["change"] > 1e-2 and found["frozen"] == 0
    assert max(found["averages"], found["own"]) < 1e-5
