"""The best model of a run, kept in a file."""

import math
import shutil
from pathlib import Path

import keras

from pa_keras.files import save_whole


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

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
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
