"""Callbacks of a training run: its time, its best model, its state, and a stop at NaN."""

import csv
import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import keras
import numpy as np


class EpochSeconds(keras.callbacks.Callback):
    """Writes `seconds` and `images_per_second` of an epoch's training into its logs.

    It stands first, so that the evaluation by callbacks after it is not counted.

    Args:
        images_per_epoch: images trained on in an epoch.
    """

    def __init__(self, images_per_epoch: int):
        super().__init__()
        self.images_per_epoch = images_per_epoch

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        seconds = time.perf_counter() - self._started
        logs.update(seconds=seconds, images_per_second=self.images_per_epoch / seconds)


class StopAtNaN(keras.callbacks.Callback):
    """Raises FloatingPointError in the first step whose loss, or result, is not finite."""

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        # The logged loss is the mean since the epoch began: the first bad step spoils it.
        if not math.isfinite(logs["loss"]):
            self._stop(f"The loss became {logs['loss']} in step {batch + 1}")

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        # The loss of a step is that before its update: the last update has none after it.
        if not all(np.isfinite(weight).all() for weight in self.model.get_weights()):
            self._stop("Weights became NaN or infinite in the last step")

    def _stop(self, what: str) -> NoReturn:
        raise FloatingPointError(
            f"{what} of epoch {self._epoch + 1}; training stopped. The state and the best model of "
            "the epochs before are kept. Lower optimizer.learning_rate, or clip gradients by "
            "optimizer.clip_value."
        )


class AppendMetrics(keras.callbacks.Callback):
    """Appends an epoch's logs to a CSV file, epochs counted from 1; it can go on with a file.

    Keras' CSVLogger would add an empty `val_` column for each of them.

    Args:
        path: of the file; its header, if it is there already, must be that of this run.
    """

    def __init__(self, path: Path):
        super().__init__()
        self.path = path

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        row = {"epoch": epoch + 1, **logs}
        is_new = not self.path.exists() or not self.path.stat().st_size
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, row)
            if is_new:
                writer.writeheader()
            writer.writerow(row)


class SaveBest(keras.callbacks.Callback):
    """Keeps the model of the epoch whose `monitor` is highest; the first of equals.

    Args:
        path: of the `.keras` file; it is replaced whole, never half-written.
        model: what is saved, such as the embedding model inside the trained one.
        monitor: a name in the logs. Default "recall_at_1".
        best: the value to beat, from an earlier part of the run. Default: none.
    """

    def __init__(
        self,
        path: Path,
        model: keras.Model,
        monitor: str = "recall_at_1",
        best: float = -math.inf,
    ):
        super().__init__()
        self.path = path
        self.kept = model
        self.monitor = monitor
        self.best = best

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if logs[self.monitor] > self.best:
            self.best = logs[self.monitor]
            save_whole(self.kept.save, self.path)


class SaveState(keras.callbacks.Callback):
    """Saves weights and optimizer at the end of each epoch, for `restore_state`.

    It stands last, so that a saved epoch is one that every other callback has recorded.

    Args:
        folder: holds `state.json` and the one weights file that it names.
    """

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        weights = self.folder / f"epoch-{epoch + 1:04d}.weights.h5"
        save_whole(self.model.save_weights, weights)
        seeds = [seed.numpy().tolist() for seed in _seeds(self.model)]
        state = json.dumps({"epoch": epoch + 1, "weights": weights.name, "seeds": seeds})
        # The json names the weights: until it is replaced, the state before is the valid one.
        save_whole(lambda path: Path(path).write_text(state), self.folder / "state.json")
        for other in self.folder.glob("epoch-*.weights.h5"):
            if other != weights:
                other.unlink()


def restore_state(model: keras.Model, folder: Path) -> None:
    """Gives a compiled model the weights and the optimizer state that `SaveState` wrote.

    Args:
        model: compiled like the model that was saved, the same variables trainable.
        folder: the folder of `SaveState`.
    """
    state = json.loads((folder / "state.json").read_text())
    model.optimizer.build(model.trainable_variables)
    model.load_weights(folder / state["weights"])
    for seed, value in zip(_seeds(model), state["seeds"], strict=True):
        seed.assign(value)


def finished_epochs(folder: Path) -> int:
    """Epochs that are in the state of `folder`; 0 if there is none."""
    state = folder / "state.json"
    return json.loads(state.read_text())["epoch"] if state.exists() else 0


def save_whole(save: Callable[[str], object], path: Path) -> None:
    """Calls `save` on a path beside `path` and renames it, so that `path` is never half-written.

    Raises:
        OSError: it cannot be written; what `path` was before is kept.
    """
    partial = path.with_name(f"partial-{path.name}")
    try:
        save(str(partial))
        os.replace(partial, path)
    except (OSError, RuntimeError) as error:  # h5py raises both where the disk is full
        partial.unlink(missing_ok=True)
        raise OSError(
            f"Expected to write {path}; {error}. What was there before is kept. Free some space, "
            "then go on with --resume."
        ) from error


def _seeds(model: keras.Model) -> list[keras.Variable]:
    """States of dropout and the like, which Keras leaves out of a weights file."""
    return [v for v in model.variables if v.path.endswith("seed_generator_state")]
