"""Callbacks of a training run: a stop at NaN, its metrics, and its best model."""

import csv
import math
import os
import shutil
from pathlib import Path

import keras
import numpy as np

from pa_keras.files import save_whole
from pa_keras.training.callbacks.progress import Progress
from pa_keras.training.callbacks.save_checkpoint import SaveState, diverged


class StopAtNaN(keras.callbacks.Callback):
    """Raises FloatingPointError in the first step whose loss, or result, is not finite.

    Args:
        progress: stands before it in `fit`.
        saver: the one of the run, to name the state that is kept. Default None: none is.
    """

    def __init__(self, progress: Progress, saver: SaveState | None = None):
        super().__init__()
        self.progress = progress
        self.saver = saver

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        # The logged loss is the mean since the epoch began: the first bad step spoils it.
        if not math.isfinite(logs["loss"]):
            raise diverged(f"The loss became {logs['loss']}", self.progress, self.saver)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        # The loss of a step is that before its update: the last update has none after it.
        if not all(np.isfinite(weight).all() for weight in self.model.get_weights()):
            raise diverged("Weights became NaN or infinite", self.progress, self.saver)


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
            # On the disk before the state that counts on it.
            file.flush()
            os.fsync(file.fileno())


class SaveBest(keras.callbacks.Callback):
    """Keeps the model of the epoch whose `monitor` is highest; the first of equals.

    Args:
        path: of the `.keras` file; it is replaced whole, never half-written.
        model: what is saved, such as the embedding model inside the trained one.
        monitor: a name in the logs. Default "recall_at_1".
        best: the value to beat, from an earlier part of the run. Default: none.
        states: folder of `SaveState`, in which each epoch's best has a file of its own, so that a
            state's best model is there even if a later one replaced it in `path`. Default None.
        kept: its file of the earlier part. Default None.

    Attributes:
        kept: Path, the best model's file in `states`; None before the first.
    """

    def __init__(
        self,
        path: Path,
        model: keras.Model,
        monitor: str = "recall_at_1",
        best: float = -math.inf,
        states: Path | None = None,
        kept: Path | None = None,
    ):
        super().__init__()
        self.path = path
        self.best_model = model
        self.monitor = monitor
        self.best = best
        self.states = states
        self.kept = kept

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if not logs[self.monitor] > self.best:
            return
        if self.states is None:
            save_whole(self.best_model.save, self.path)
        else:
            own = self.states / f"best-epoch-{epoch + 1:04d}.keras"
            # A state names it, if this epoch's evaluation was done before and is done again.
            if own != self.kept:
                save_whole(self.best_model.save, own)
            save_whole(lambda partial: shutil.copyfile(own, partial), self.path)
            self.kept = own
        self.best = logs[self.monitor]
