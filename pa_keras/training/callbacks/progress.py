"""Where a training is: epoch, step, and the seconds that it took, over several processes."""

import time

import keras
import numpy as np

from pa_keras.training.checkpoint import State, set_metrics


class Progress(keras.callbacks.Callback):
    """Counts epochs and steps, and can begin in the middle of an epoch.

    It stands first: others read where it is, and what comes after it in `on_epoch_end`, such as an
    evaluation, is not counted in the `seconds` and `images_per_second` that it writes into the logs
    of an epoch. Seconds of an epoch in several parts are summed up.

    Args:
        steps_per_epoch: batches in an epoch.
        batch_size: images in a batch.

    Attributes:
        epoch: int, epochs that are done.
        step: int, steps that are done of the next.

    Example:
        >>> progress = Progress(steps_per_epoch=10, batch_size=90)
        >>> # model.fit(batches, steps_per_epoch=10, callbacks=[progress, ...])
    """

    def __init__(self, steps_per_epoch: int, batch_size: int):
        super().__init__()
        self.steps_per_epoch = steps_per_epoch
        self.images_per_epoch = steps_per_epoch * batch_size
        self.epoch = 0
        self.step = 0
        self._first_step = 0
        self._before = 0.0  # seconds of the epoch before it was interrupted
        self._started: float | None = None
        self._metrics: list[np.ndarray] = []

    @property
    def seconds(self) -> float:
        """Spent on the steps of the epoch in progress."""
        now = 0.0 if self._started is None else time.perf_counter() - self._started
        return self._before + now

    @property
    def epoch_is_trained(self) -> bool:
        """Whether of this epoch only what follows its steps is left, such as its evaluation."""
        return self.step >= self.steps_per_epoch

    def go_on_from(self, state: State, metrics: list[np.ndarray]) -> None:
        """Begins at a state, with the metrics in it; the batches have to begin there too."""
        self._metrics = metrics
        self.epoch, self.step, self._before = state.epoch, state.step, state.seconds

    def finish_epoch(self) -> None:
        """Moves on, when all is done that follows the steps of an epoch."""
        self.epoch, self.step, self._before = self.epoch + 1, 0, 0.0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        if epoch != self.epoch:
            self.epoch, self.step, self._before = epoch, 0, 0.0
        self._first_step = self.step
        if self.step:
            set_metrics(self.model, self._metrics)
        self._started = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        # The last of several steps in one execution may lie beyond the epoch's.
        self.step = min(self._first_step + batch + 1, self.steps_per_epoch)
        if self._first_step and self.epoch_is_trained:
            # The rest of an epoch has fewer steps than `fit` was told.
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
        if self._first_step:
            self.model.stop_training = False
        self._before, self._started = self.seconds, None
        logs.update(
            seconds=self._before, images_per_second=self.images_per_epoch / max(self._before, 1e-9)
        )
