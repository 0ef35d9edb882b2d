"""A stop in the step in which training diverges."""

import math

import keras
import numpy as np

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

    def on_train_batch_end(self, batch: int, logs: dict) -> None:
        # The logged loss is the mean since the epoch began: the first bad step spoils it.
        if not math.isfinite(logs["loss"]):
            raise diverged(f"The loss became {logs['loss']}", self.progress, self.saver)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        # The loss of a step is that before its update: the last update has none after it.
        if not all(np.isfinite(weight).all() for weight in self.model.get_weights()):
            raise diverged("Weights became NaN or infinite", self.progress, self.saver)
