"""Saving the best model of a run."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import keras

from pa_keras.files import save_whole


class SaveBest(keras.callbacks.Callback):
    """Keeps the model of the epoch with the highest `monitor`, the first one if several are equal.

    Args:
        path: The `.keras` file; it is replaced atomically.
        save: Function that writes the model to a given path, such as `embedder.save`.
        monitor: Name of the metric in the logs. Default "recall_at_1".
        best: Value to exceed, from an earlier part of the run. Default: minus infinity.
        checkpoints: Folder of `SaveCheckpoint`. Each new best model is saved there too, under the
            name of its epoch, since the one in `path` may be newer than a checkpoint. Default None.
        kept: File in `checkpoints` from the earlier part of the run. Default None.

    Attributes:
        kept: Path, file of the best model in `checkpoints`; None before the first.
    """

    def __init__(
        self,
        path: Path,
        save: Callable[[str], object],
        monitor: str = "recall_at_1",
        best: float = -math.inf,
        checkpoints: Path | None = None,
        kept: Path | None = None,
    ):
        super().__init__()
        self.path = path
        self.save = save
        self.monitor = monitor
        self.best = best
        self.checkpoints = checkpoints
        self.kept = kept

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
        if not logs[self.monitor] > self.best:
            return
        if self.checkpoints is None:
            save_whole(self.save, self.path)
        else:
            own = self.checkpoints / f"best-epoch-{epoch + 1:04d}.keras"
            # If this epoch was evaluated before the run was resumed, a checkpoint names this file.
            if own != self.kept:
                save_whole(self.save, own)
            save_whole(lambda partial: shutil.copyfile(own, partial), self.path)
            self.kept = own
        self.best = logs[self.monitor]
