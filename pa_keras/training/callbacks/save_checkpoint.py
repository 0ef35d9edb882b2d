"""When a run saves a checkpoint: at the end of an epoch, every few minutes, and when it stops."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from pa_keras.training.callbacks.preemption import StopRequests
from pa_keras.training.callbacks.progress import Progress
from pa_keras.training.callbacks.save_best import SaveBest
from pa_keras.training.checkpoint import Checkpoint, keep_only, write_checkpoint

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SavePolicy:
    """When a checkpoint is saved within an epoch.

    Args:
        minutes: Minutes from one save to the next, > 0. Default 10.
        share: Largest share of the time to spend on saving. Default 0.02.

    Raises:
        ValueError: `minutes` is not above 0.
    """

    minutes: float = 10.0
    share: float = 0.02

    def __post_init__(self) -> None:
        if self.minutes <= 0:
            raise ValueError(f"Expected save_minutes above 0; received {self.minutes}.")


class SaveCheckpoint(keras.callbacks.Callback):
    """Saves a checkpoint after each epoch and every few minutes, and keeps the last two.

    A save is left out if saving would then exceed `policy.share` of the time; those at the end of
    `fit` and at a stop are always made. It has to be the last callback, so that every other
    callback has recorded an epoch before the checkpoint counts it as finished.

    Args:
        folder: Folder of the checkpoints.
        progress: The first callback in `fit`.
        requests: Requests to stop, which are held while a checkpoint is written.
        policy: When to save within an epoch. Default: every 10 minutes, in 2 % of the time.
        best: The callback that keeps the best model, whose file a checkpoint names. Default None.
        last: The checkpoint that the run resumes from. Default None.
        writes: Whether this worker writes the run folder. Default True.

    Attributes:
        last: Checkpoint, the newest; None before the first.
        spent: float, seconds of all saves so far.

    Raises:
        OSError: A checkpoint cannot be written, for example on a full disk; earlier ones are kept.
        FloatingPointError: A weight is NaN or infinite; no checkpoint is written.
    """

    def __init__(
        self,
        folder: Path,
        progress: Progress,
        requests: StopRequests,
        policy: SavePolicy = SavePolicy(),
        best: SaveBest | None = None,
        last: Checkpoint | None = None,
        writes: bool = True,
    ):
        super().__init__()
        self.folder = folder
        self.progress = progress
        self.requests = requests
        self.policy = policy
        self.best = best
        self.last = last
        self.writes = writes
        self.spent = 0.0
        self._kept = [] if last is None else [last]
        self._latest = 0.0  # seconds of the last save
        self._began: float | None = None
        self._saved_at = 0.0

    def where(self) -> str:
        """A sentence that says where the last checkpoint is."""
        if self.last is None:
            return "No checkpoint was saved yet."
        return f"The checkpoint of {self.last} is kept in {self.folder / self.last.name}.npz."

    def on_train_begin(self, logs: dict | None = None) -> None:
        if self._began is None:
            self._began = self._saved_at = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        due = time.monotonic() - self._saved_at >= 60 * self.policy.minutes
        # The evaluation follows the last step, and then the save at the end of the epoch.
        if due and not self.progress.epoch_is_trained and self._can_afford_it():
            self.save()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        with self.requests.held():
            self.progress.finish_epoch()
            if epoch + 1 == self.params["epochs"] or self._can_afford_it():
                self.save()

    def on_train_end(self, logs: dict | None = None) -> None:
        logger.debug("Saving took %.2f s of %.1f s.", self.spent, self._elapsed())

    def save(self) -> None:
        """Saves a checkpoint, unless nothing was trained since the last one."""
        at = self.progress.epoch, self.progress.step
        if (
            not self.writes
            or at == (0, 0)
            or (self.last and at == (self.last.epoch, self.last.step))
        ):
            return
        started = time.monotonic()
        values = [*self.model.weights, *self.model.optimizer.variables]
        if not all(np.isfinite(value.numpy()).all() for value in values):
            raise diverged("Weights became NaN or infinite", self.progress, self)
        with self.requests.held():
            best = None if self.best is None else self.best.kept
            self.last = write_checkpoint(self.model, self.folder, *at, self.progress.seconds, best)
            self._kept = [*self._kept, self.last][-2:]
            keep_only(self.folder, self._kept)
        self._saved_at = time.monotonic()
        self._latest = self._saved_at - started
        self.spent += self._latest
        logger.debug("Saved %s in %.2f s.", self.last, self._latest)

    def _can_afford_it(self) -> bool:
        return self.spent + self._latest <= self.policy.share * self._elapsed()

    def _elapsed(self) -> float:
        return 0.0 if self._began is None else time.monotonic() - self._began


def diverged(what: str, progress: Progress, saver: SaveCheckpoint | None) -> FloatingPointError:
    """The error for a loss or weights that are no longer finite."""
    kept = "" if saver is None else f" {saver.where()}"
    return FloatingPointError(
        f"{what} in step {progress.step} of epoch {progress.epoch + 1}; training stopped, and "
        f"nothing was saved since.{kept} --resume would come to the same step: start a new run "
        "with a lower optimizer.learning_rate, or clip gradients by optimizer.clip_value."
    )
