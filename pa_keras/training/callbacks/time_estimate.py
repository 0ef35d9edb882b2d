"""How long the training will take, from its first steps."""

import logging
import math
from collections.abc import Callable

import keras

from pa_keras.training.callbacks.progress import Progress

logger = logging.getLogger(__name__)

# The first steps are slower, since TensorFlow traces the step and buffers fill.
_SKIPPED_STEPS = 3
_MEASURED_STEPS = 5
_MEASURED_SECONDS = 5.0

# A run that takes less long needs no advice.
_LONG = 20 * 60.0
# The side in pixels below which smaller images lose much of what is in them.
_SMALL = 128


class TimeEstimate(keras.callbacks.Callback):
    """Logs after the first steps of each `fit` how long its epochs will take.

    On a CPU a long estimate also names what a smaller image size would save: the time of a step
    grows with the number of pixels.

    Args:
        progress: The callback that counts epochs and steps; it has to come first.
        evaluation_seconds: Function that returns the seconds of one evaluation, or 0 if there is
            none or its time is not known yet. Default: 0.
        image_size: (height, width) of the training images in pixels, if training is on a CPU.
            Default None: no advice.

    Example:
        >>> progress = Progress(steps_per_epoch=10, batch_size=90)
        >>> callbacks = [progress, TimeEstimate(progress, image_size=(224, 224))]
    """

    def __init__(
        self,
        progress: Progress,
        evaluation_seconds: Callable[[], float] = lambda: 0.0,
        image_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.progress = progress
        self.evaluation_seconds = evaluation_seconds
        self.image_size = image_size
        self._since: tuple[int, float] | None = None  # step and seconds of the epoch
        self._epochs = 0
        self._steps = 0
        self._seconds = 0.0
        self._done = False

    def on_train_begin(self, logs: dict | None = None) -> None:
        # Another `fit` may train other weights.
        self._since, self._epochs, self._steps, self._seconds, self._done = None, 0, 0, 0.0, False

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        # The step is traced in the first epoch; of the others, every step counts.
        self._since = (self.progress.step, self.progress.seconds) if self._epochs else None
        self._epochs += 1

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if self._done or (self._epochs == 1 and batch < _SKIPPED_STEPS):
            return
        step, seconds = self.progress.step, self.progress.seconds
        if self._since is not None:
            self._steps += step - self._since[0]
            self._seconds += seconds - self._since[1]
        self._since = step, seconds
        if self._steps >= _MEASURED_STEPS and self._seconds >= _MEASURED_SECONDS:
            self._done = True
            self._log(self._seconds / self._steps)

    def _log(self, seconds_per_step: float) -> None:
        progress = self.progress
        epochs = self.params["epochs"] - progress.epoch
        one = progress.steps_per_epoch * seconds_per_step + self.evaluation_seconds()
        left = epochs * one - progress.step * seconds_per_step
        whole = f"an epoch takes about {in_words(one)}"
        if epochs > 1:
            whole += f" and the remaining {epochs} about {in_words(left)}"
        logger.info(
            "At %.0f images per second, %s.%s",
            progress.batch_size / seconds_per_step,
            whole,
            self._advice(left),
        )

    def _advice(self, seconds: float) -> str:
        if self.image_size is None or seconds < _LONG:
            return ""
        side = min(self.image_size)
        smaller = max(_SMALL, 32 * round(side / 2**0.5 / 32))
        if smaller >= side:
            return ""
        share = smaller**2 / math.prod(self.image_size)
        return (
            f" On a CPU this time grows with the pixels: --data.image_size {smaller} would take "
            f"about {in_words(share * seconds)}, for a lower Recall@K."
        )


def in_words(seconds: float) -> str:
    """A duration with about two digits, such as "50 seconds", "12 minutes" or "2.5 hours".

    Args:
        seconds: The duration, at least 0.

    Example:
        >>> in_words(9), in_words(754), in_words(9000)
        ('9 seconds', '13 minutes', '2.5 hours')
    """
    for unit, length in (("hour", 3600.0), ("minute", 60.0)):
        number = seconds / length
        if number >= 1.5:
            text = f"{number:.1f}" if number < 9.5 and unit == "hour" else f"{number:.0f}"
            return f"{text.removesuffix('.0')} {unit}s"
    number = max(1, round(seconds))
    return f"{number} second{'s' if number > 1 else ''}"
