"""When checkpoints are saved: how often, at what cost, where a run stops, and never after a NaN."""

import contextlib
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from pa_keras.training import phases
from pa_keras.training.callbacks import save_checkpoint
from pa_keras.training.callbacks.preemption import Stopped, Stopping, StopRequests
from pa_keras.training.callbacks.progress import Progress
from pa_keras.training.callbacks.save_checkpoint import SaveCheckpoint, SavePolicy
from pa_keras.training.callbacks.stop_at_nan import StopAtNaN
from pa_keras.training.checkpoint import newest_checkpoint

STEPS = 5
X, Y = np.random.default_rng(0).normal(size=(4 * STEPS * 2, 3)), np.zeros((4 * STEPS * 2, 2))


def batches(epoch, step):
    data = tf.data.Dataset.from_tensor_slices((X.astype("float32"), Y.astype("float32")))
    return data.batch(2).skip(STEPS * epoch + step).repeat()


class Recorder(keras.callbacks.Callback):
    """Records the logs, and asks to stop in a step or in the evaluation of an epoch."""

    def __init__(self, requests, ask_at=None):
        super().__init__()
        self.requests, self.ask_at = requests, ask_at
        self.logs, self.batches = {}, 0

    def on_train_batch_begin(self, batch, logs=None):
        self.batches += 1
        if self.batches == self.ask_at:
            self.requests.wanted = Stopped("Stopped by a test.", 143)

    def on_epoch_end(self, epoch, logs=None):
        self.requests.raise_if_wanted()
        if self.ask_at == f"evaluation of {epoch}":
            raise Stopped("Stopped by a test.", 143)
        self.logs[epoch] = {k: v for k, v in logs.items() if "second" not in k}


def trained(folder, ask_at=None, **options):
    """Trains to the end of four epochs in two phases, from the checkpoint in the folder."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3,))
    dropped = keras.layers.Dropout(0.5, seed=1)(keras.layers.Dense(6)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2)(dropped))
    folder.mkdir(exist_ok=True)
    requests, progress = StopRequests(), Progress(STEPS, 2)
    recorder = Recorder(requests, ask_at)
    saver = SaveCheckpoint(folder, progress, requests, last=newest_checkpoint(folder), **options)
    callbacks = [progress, StopAtNaN(progress, saver), Stopping(requests, progress)]
    schedule = keras.optimizers.schedules.CosineDecay(0.01, 20)
    setup = phases.Setup(
        [(phase, keras.optimizers.Adam(schedule)) for phase in phases.phases(4, 1)],
        keras.losses.MeanSquaredError(),
        "train",
        jit_compile=False,
    )
    with contextlib.suppress(Stopped):
        phases.train(
            model,
            batches,
            setup,
            [*callbacks, recorder, saver],
            saver,
            verbose=0,
        )
    return model, recorder, saver


@pytest.fixture
def no_backbone(monkeypatch):
    monkeypatch.setattr(phases, "set_trainable", lambda *arguments: None)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phases, "set_trainable", lambda *arguments: None)
        model, recorder, _ = trained(tmp_path_factory.mktemp("runs") / "whole")
    return model, recorder


# Steps are counted from 1 over the complete run: 3 is in the warm-up, 5 and 15 end an epoch.
@pytest.mark.parametrize("ask_at", [3, 5, 13, 20, "evaluation of 2"])
def test_a_stopped_and_resumed_training_is_the_same_to_the_bit(
    tmp_path, no_backbone, whole, ask_at
):
    _, first, saver = trained(tmp_path / "state", ask_at)
    last = newest_checkpoint(tmp_path / "state")
    assert last == saver.last
    done = 15 if ask_at == "evaluation of 2" else ask_at
    assert STEPS * last.epoch + last.step == done and last.step > 0
    model, second, _ = trained(tmp_path / "state")
    expected, recorder = whole
    assert {**first.logs, **second.logs} == recorder.logs, "the mean loss of the epoch in parts too"
    assert not first.logs.keys() & second.logs.keys()
    assert first.batches + second.batches == 4 * STEPS
    for ours, theirs in zip(model.variables, expected.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for ours, theirs in zip(model.optimizer.variables, expected.optimizer.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_stopped_twice_in_one_epoch(tmp_path, no_backbone, whole):
    parts = [trained(tmp_path / "state", ask_at)[1] for ask_at in (7, 2, None)]
    assert parts[-1].logs[3] == whole[1].logs[3] and sum(p.batches for p in parts) == 4 * STEPS


def test_seconds_of_an_epoch_in_parts_are_summed():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", jit_compile=False)
    progress, logs = Progress(STEPS, 2), {}
    progress.set_model(model)
    metrics = [v.numpy() for m in model.metrics for v in m.variables]
    progress.resume_from(save_checkpoint.Checkpoint(1, 3, 7.0, None, {}), metrics)
    progress.on_epoch_begin(1)
    time.sleep(0.02)
    progress.on_epoch_end(1, logs)
    assert 7.02 <= logs["seconds"] < 9
    assert logs["images_per_second"] * logs["seconds"] == pytest.approx(10)


class Clock:
    """A clock that advances by a second per step, and by `save` seconds per save."""

    def __init__(self, monkeypatch, save):
        self.now, self.saves = 0.0, []
        monkeypatch.setattr(save_checkpoint.time, "monotonic", lambda: self.now)

        def write(model, folder, epoch, step, seconds, best):
            self.now += save
            self.saves.append((epoch, step))
            return save_checkpoint.Checkpoint(epoch, step, seconds, None, {})

        monkeypatch.setattr(save_checkpoint, "write_checkpoint", write)
        monkeypatch.setattr(save_checkpoint, "keep_only", lambda folder, checkpoints: None)


def run_by_the_clock(clock, epochs, steps, minutes):
    progress = Progress(steps, 1)
    saver = SaveCheckpoint(None, progress, StopRequests(), SavePolicy(minutes))
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", jit_compile=False)
    every = keras.callbacks.CallbackList([progress, saver], model=model, epochs=epochs)
    every.on_train_begin()
    for epoch in range(epochs):
        every.on_epoch_begin(epoch)
        for step in range(steps):
            clock.now += 1
            every.on_train_batch_end(step)
        every.on_epoch_end(epoch, {})
    return saver


def test_checkpoints_are_saved_every_so_many_minutes_and_after_each_epoch(monkeypatch):
    clock = Clock(monkeypatch, save=0.001)
    run_by_the_clock(clock, epochs=2, steps=1000, minutes=5)
    assert clock.saves == [
        (0, 300),
        (0, 600),
        (0, 900),
        (1, 0),
        (1, 300),
        (1, 600),
        (1, 900),
        (2, 0),
    ]


@pytest.mark.parametrize(("epochs", "steps", "minutes"), [(40, 50, 1.0), (1, 4000, 0.01)])
def test_saving_takes_no_more_than_its_share(monkeypatch, epochs, steps, minutes):
    clock = Clock(monkeypatch, save=3.0)
    saver = run_by_the_clock(clock, epochs, steps, minutes=minutes)
    # The last save is always made.
    assert saver.spent - 3.0 <= 0.02 * clock.now and len(clock.saves) >= 0.012 * clock.now / 3
    assert clock.saves[-1] == (epochs, 0)


def test_no_minutes():
    with pytest.raises(ValueError, match="save_minutes above 0; received 0"):
        SavePolicy(minutes=0)


def test_after_a_nan_nothing_is_saved_and_the_state_before_is_named(
    tmp_path, no_backbone, monkeypatch
):
    spoilt = X.copy()
    spoilt[2 * (STEPS + 2)] = np.nan  # in the third step of the second epoch
    monkeypatch.setitem(globals(), "X", spoilt)
    with pytest.raises(FloatingPointError) as stopped:
        trained(tmp_path / "state", policy=SavePolicy(minutes=1e-9, share=1e9))
    message = str(stopped.value)
    assert "The loss became nan in step 3 of epoch 2; training stopped" in message
    name = tmp_path / "state" / "epoch-0002-step-000002.npz"
    assert f"The checkpoint of epoch 2, step 2 is kept in {name}" in message
    last = newest_checkpoint(tmp_path / "state")
    assert (last.epoch, last.step) == (1, 2)
    with np.load(name) as arrays:
        assert all(np.isfinite(arrays[each]).all() for each in arrays.files)


def test_weights_that_became_nan_are_not_saved(tmp_path, no_backbone):
    """The loss of a step is computed before its update, and is still finite."""
    model, _, saver = trained(tmp_path / "state")
    before = newest_checkpoint(tmp_path / "state")
    model.trainable_variables[0].assign(np.full((3, 6), np.inf))
    saver.progress.epoch, saver.progress.step = 4, 1
    with pytest.raises(
        FloatingPointError, match=r"Weights became NaN.*The checkpoint of epoch 4 is"
    ):
        saver.save()
    assert newest_checkpoint(tmp_path / "state") == before
