"""Counting epochs, steps and seconds of a run, across interruptions."""

import time

import keras
import numpy as np

from pa_keras.training.checkpoint import Checkpoint, set_metrics


class Progress(keras.callbacks.Callback):
    """Counts epochs and steps, and can begin in the middle of an epoch.

    It has to be the first callback, since others read its counts. It writes `seconds` and
    `images_per_second` into the logs of an epoch; they do not include later callbacks, such as an
    evaluation. The seconds of an interrupted epoch are summed over its parts.

    Args:
        steps_per_epoch: Number of batches in an epoch.
        batch_size: Number of images in a batch.

    Attributes:
        epoch: int, number of finished epochs.
        step: int, number of finished steps of the epoch after them.

    Example:
        >>> progress = Progress(steps_per_epoch=10, batch_size=90)
        >>> # model.fit(batches, steps_per_epoch=10, callbacks=[progress, ...])
    """

    def __init__(self, steps_per_epoch: int, batch_size: int):
        super().__init__()
        self.steps_per_epoch = steps_per_epoch
        self.batch_size = batch_size
        self.epoch = 0
        self.step = 0
        self._first_step = 0
        self._before = 0.0  # seconds of the epoch before it was interrupted
        self._started: float | None = None
        self._metrics: list[np.ndarray] = []

    @property
    def seconds(self) -> float:
        """Seconds spent on the steps of the epoch in progress."""
        now = 0.0 if self._started is None else time.perf_counter() - self._started
        return self._before + now

    @property
    def epoch_is_trained(self) -> bool:
        """Whether all steps of the epoch are done, so that only its evaluation may be left."""
        return self.step >= self.steps_per_epoch

    def resume_from(self, checkpoint: Checkpoint, metrics: list[np.ndarray]) -> None:
        """Starts at a checkpoint with its metrics; the batches have to start there too."""
        self._metrics = metrics
        self.epoch, self.step, self._before = checkpoint.epoch, checkpoint.step, checkpoint.seconds

    def finish_epoch(self) -> None:
        """Counts an epoch as finished, after its evaluation and all other callbacks."""
        self.epoch, self.step, self._before = self.epoch + 1, 0, 0.0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        if epoch != self.epoch:
            self.epoch, self.step, self._before = epoch, 0, 0.0
        self._first_step = self.step
        if self.step:
            set_metrics(self.model, self._metrics)
        self._started = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        # With several steps in one execution, the last one may lie beyond the end of the epoch.
        self.step = min(self._first_step + batch + 1, self.steps_per_epoch)
        if self._first_step and self.epoch_is_trained:
            # The rest of the epoch has fewer steps than `fit` expects.
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
        if self._first_step:
            self.model.stop_training = False
        self._before, self._started = self.seconds, None
        images = self.steps_per_epoch * self.batch_size
        logs.update(seconds=self._before, images_per_second=images / max(self._before, 1e-9))
