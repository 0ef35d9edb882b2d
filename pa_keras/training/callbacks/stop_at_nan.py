"""Stopping when training diverges."""

import math

import keras
import numpy as np

from pa_keras.training.callbacks.progress import Progress
from pa_keras.training.callbacks.save_checkpoint import SaveCheckpoint, diverged


class StopAtNaN(keras.callbacks.Callback):
    """Raises FloatingPointError after the first step whose loss or weights are not finite.

    Args:
        progress: Callback that counts the steps, earlier in the list of callbacks.
        saver: Callback that saves checkpoints, to name the last one. Default None.
    """

    def __init__(self, progress: Progress, saver: SaveCheckpoint | None = None):
        super().__init__()
        self.progress = progress
        self.saver = saver

    def on_train_batch_end(self, batch: int, logs: dict) -> None:
        # The logged loss is the mean since the epoch began, so that one bad step makes it NaN.
        if not math.isfinite(logs["loss"]):
            raise diverged(f"The loss became {logs['loss']}", self.progress, self.saver)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        # A step computes its loss before its update, so that no loss shows the last update.
        if not all(np.isfinite(weight).all() for weight in self.model.get_weights()):
            raise diverged("Weights became NaN or infinite", self.progress, self.saver)
