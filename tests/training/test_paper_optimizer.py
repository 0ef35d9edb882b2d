"""The authors' optimizer against a NumPy trace of PyTorch's AdamW, including the warm-up."""

import keras
import numpy as np

from pa_keras.models import embedding_model, set_trainable, with_proxies
from pa_keras.training import decayed, reference_optimizers
from pa_keras.training.checkpoint import restore_checkpoint, write_checkpoint

RATE, PROXIES_RATE, DECAY, CLIP = 1e-4, 1e-2, 1e-4, 10.0
STEPS_PER_EPOCH = 2


def trace(value, gradients, rates):
    """torch.optim.AdamW after clip_grad_value_, step by step, in float64."""
    m, v = np.zeros_like(value), np.zeros_like(value)
    for t, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), 1):
        g = np.clip(gradient, -CLIP, CLIP)
        value = value * (1 - rate * DECAY)
        m = 0.9 * m + 0.1 * g
        v = 0.999 * v + 0.001 * g * g
        denominator = np.sqrt(v) / np.sqrt(1 - 0.999**t) + 1e-8
        value = value - rate / (1 - 0.9**t) * m / denominator
    return value


def make_model():
    keras.utils.set_random_seed(0)
    return with_proxies(embedding_model("conv4", 4, (16, 16), weights=None), 3)


def make_phase():
    """Learning rates of a staircase that halves every two epochs, with one epoch of warm-up."""
    model = make_model()

    def rate(peak):
        return lambda first: decayed(peak, "staircase", STEPS_PER_EPOCH, 4, first, 2, 0.5)

    return model, reference_optimizers(model, rate(RATE), rate(PROXIES_RATE), DECAY, CLIP)


def is_proxies(variable):
    return variable.path == "proxies/proxies"


def is_new(variable):
    return is_proxies(variable) or variable.path.startswith("embedding/")


def run_epochs(model, optimizer, gradients):
    """Applies the gradients, each (name -> array), to the trainable weights."""
    variables = model.trainable_variables
    for step in gradients:
        optimizer.apply([keras.ops.cast(step[v.path], "float32") for v in variables], variables)


def test_warm_up_and_all_equal_torchs_adamw_in_three_groups():
    model, phase = make_phase()
    rng = np.random.default_rng(0)
    # Some gradients are as small as epsilon, where its position matters, and some are clipped.
    scales = [1e-8, 1e-3, 20.0]
    shapes = {v.path: v.shape for v in model.trainable_variables}
    steps = [
        {path: rng.normal(scale=scales[i % 3], size=shape) for path, shape in shapes.items()}
        for i in range(8)
    ]
    for variable in model.trainable_variables:
        # As small as the steps, so that float32 keeps the digits of the steps.
        variable.assign(rng.normal(scale=1e-3, size=variable.shape))
    start = {v.path: v.numpy().astype("float64") for v in model.trainable_variables}
    set_trainable(model, train_backbone=False, batch_norm="frozen_statistics")
    run_epochs(model, phase(0), steps[:2])
    set_trainable(model, train_backbone=True, batch_norm="frozen_statistics")
    run_epochs(model, phase(1), steps[2:])
    stairs = np.array([1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5])
    seen = {"backbone": 0, "embedding": 0, "proxies": 0}
    for variable in model.trainable_variables:
        first = 0 if is_new(variable) else 2
        peak = PROXIES_RATE if is_proxies(variable) else RATE
        gradients = [step[variable.path] for step in steps[first:]]
        expected = trace(start[variable.path], gradients, peak * stairs[first:])
        np.testing.assert_allclose(variable.numpy(), expected, rtol=0, atol=1e-5 * peak * 8)
        seen[variable.path.split("/")[0] if is_new(variable) else "backbone"] += 1
    assert min(seen.values()) > 0


def test_a_run_that_is_resumed_in_its_second_phase_goes_on_alike(tmp_path):
    rng = np.random.default_rng(1)
    models = [make_phase(), make_phase()]
    shapes = {v.path: v.shape for v in models[0][0].trainable_variables}
    steps = [{p: rng.normal(size=s) for p, s in shapes.items()} for _ in range(6)]
    model, phase = models[0]
    set_trainable(model, False, "frozen")
    run_epochs(model, phase(0), steps[:2])
    set_trainable(model, True, "frozen")
    model.compile(phase(1), "mse")
    run_epochs(model, model.optimizer, steps[2:4])
    checkpoint = write_checkpoint(model, tmp_path, 2, 0, 1.0, None)
    run_epochs(model, model.optimizer, steps[4:])

    resumed, phase = models[1]
    set_trainable(resumed, True, "frozen")
    resumed.compile(phase(1), "mse")
    restore_checkpoint(resumed, tmp_path, checkpoint)
    run_epochs(resumed, resumed.optimizer, steps[4:])
    for ours, theirs in zip(resumed.weights, model.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
