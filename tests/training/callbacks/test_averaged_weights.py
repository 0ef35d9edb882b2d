"""Averaged weights against their recursion, and what training and evaluation see of them."""

import keras
import numpy as np
import pytest

from pa_keras.models import embedding_model, with_proxies
from pa_keras.training import adamw, reference_optimizers, two_rate_adamw
from pa_keras.training.callbacks.averaged_weights import AveragedWeights

MOMENTUM = 0.75
SIZE = (16, 16)


class History(keras.callbacks.Callback):
    """The weights of the model after each step, and those of another model after each epoch."""

    def __init__(self, copy):
        super().__init__()
        self.copy = copy
        self.steps, self.epochs = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append(self.model.get_weights())

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(self.copy.get_weights())


def make_model():
    keras.utils.set_random_seed(0)
    embedder = embedding_model("conv4", 4, SIZE, weights=None, batch_norm="frozen")
    return with_proxies(embedder, 3), embedder


def optimizer_of(kind, model, averaging):
    options = 1e-4, 10.0, None, averaging
    match kind:
        case "pairs":
            return adamw(1e-2, *options)
        case "proxies":
            return two_rate_adamw(model, 1e-2, 1e-1, *options)
    return reference_optimizers(model, lambda _: 1e-2, lambda _: 1e-1, *options)(0)


def fit(kind, averaging):
    model, embedder = make_model()
    copy = keras.models.clone_model(embedder)
    history = History(copy)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer_of(kind, model, averaging), loss, jit_compile=False)
    callbacks = [AveragedWeights(embedder, copy)] if averaging else []
    pixels = np.random.default_rng(0).uniform(0, 255, (6, *SIZE, 3)).astype("float32")
    model.fit(pixels, np.arange(6) % 3, batch_size=3, epochs=3, shuffle=False, verbose=0,
              callbacks=[*callbacks, history])  # fmt: skip
    return history, model, embedder


@pytest.mark.parametrize("kind", ["pairs", "proxies", "reference"])
def test_the_averages_are_those_of_numpy_and_training_does_not_see_them(kind):
    averaged, model, embedder = fit(kind, MOMENTUM)
    plain, _, _ = fit(kind, 0.0)
    assert len(averaged.steps) == 6
    for ours, theirs in zip(averaged.steps, plain.steps, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)
    averages = [weight.astype("float64") for weight in averaged.steps[0]]
    epochs = []
    for step, weights in enumerate(averaged.steps[1:], 2):
        averages = [
            MOMENTUM * average + (1 - MOMENTUM) * weight
            for average, weight in zip(averages, weights, strict=True)
        ]
        if step % 2 == 0:
            epochs.append(averages)
    number = len(embedder.get_weights())
    for expected, found in zip(epochs, averaged.epochs, strict=True):
        for a, b in zip(expected[:number], found, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert any(
        np.abs(a - b).max() > 1e-3
        for a, b in zip(averaged.steps[-1], averaged.epochs[-1], strict=False)
    )
    for a, b in zip(averaged.epochs[-1], embedder.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)  # Keras ends `fit` with the averages


@pytest.mark.parametrize("value", [-0.1, 1.0, float("nan")])
def test_a_momentum_out_of_range(value):
    with pytest.raises(ValueError, match=r"weight_averaging in \[0, 1\); received"):
        adamw(1e-3, weight_averaging=value)
