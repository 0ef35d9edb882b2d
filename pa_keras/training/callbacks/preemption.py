"""Stopping a run by a signal or after a time limit, with a checkpoint saved first."""

import logging
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import keras

from pa_keras.training.callbacks.progress import Progress

logger = logging.getLogger(__name__)

# The exit codes that shells report for processes that these signals ended.
CODES: dict[int, int] = {signal.SIGTERM: 143, signal.SIGINT: 130}
# Seconds that a stop waits for one call of TensorFlow to return.
PATIENCE = 20.0
# A second signal within so many seconds is the same one, sent to a process and to its group.
ECHO = 1.0


class Stopped(KeyboardInterrupt):
    """A run was stopped before its end. Not an Exception, so that `except Exception` misses it.

    Args:
        reason: A sentence that says why.
        code: Exit code of the process, 0 if its time was over.
    """

    def __init__(self, reason: str, code: int):
        super().__init__(reason)
        self.code = code


class StopRequests:
    """Turns SIGTERM, SIGINT and the time limit into a `Stopped` where the run can be saved.

    While `interruptible` is set, which it is outside of the training steps, `Stopped` is raised at
    once. Otherwise the request waits in `wanted`. A second signal ends the process immediately, and
    so does one call of TensorFlow that does not return for `PATIENCE` seconds. A thread watches for
    both, since Python runs signal handlers only between two calls. Outside of the main thread,
    where Python allows no signal handlers, this class does nothing.

    Args:
        max_hours: Hours after which to stop. None: no limit.
        started: Start of these hours, by `time.monotonic`. Default None: now.

    Raises:
        ValueError: max_hours is not above 0.

    Attributes:
        wanted: Stopped, the request to stop. None: no request.
        interruptible: bool, whether a request raises `Stopped` at once.

    Example:
        >>> with StopRequests(max_hours=8) as requests:
        ...     stopping = Stopping(requests, Progress(steps_per_epoch=10, batch_size=90))
        >>> # model.fit(batches, callbacks=[stopping.progress, stopping])
    """

    def __init__(self, max_hours: float | None = None, started: float | None = None):
        if max_hours is not None and max_hours <= 0:
            raise ValueError(f"Expected max_hours above 0, or none; received {max_hours}.")
        self.wanted: Stopped | None = None
        self.interruptible = True
        self._max_hours = max_hours
        self._started = time.monotonic() if started is None else started
        self._before: dict[int, Any] = {}
        self._is_main = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> "StopRequests":
        if self._is_main:
            numbers = [*CODES, signal.SIGALRM]
            self._before = {number: signal.signal(number, self._hear) for number in numbers}
            reading, self._writing = os.pipe()
            os.set_blocking(self._writing, False)
            self._wakeup = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
            self._watcher = threading.Thread(
                target=self._watch, args=(reading,), name="stop requests", daemon=True
            )
            self._watcher.start()
            if self._max_hours is not None:
                left = self._started + 3600 * self._max_hours - time.monotonic()
                signal.setitimer(signal.ITIMER_REAL, max(left, 1e-3))
        return self

    def __exit__(self, *exception: object) -> None:
        if self._is_main:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.set_wakeup_fd(self._wakeup)
            for number, handler in self._before.items():
                signal.signal(number, handler)
            # A byte ends the thread; closing the pipe does not if a forked child has it open.
            os.write(self._writing, b"\0")
            self._watcher.join()
            os.close(self._writing)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Holds requests back during a block, such as a save, and raises them after it."""
        before, self.interruptible = self.interruptible, False
        try:
            yield
        finally:
            self.interruptible = before
        if before:
            self.raise_if_wanted()

    def raise_if_wanted(self) -> None:
        """Raises `Stopped` if a stop was requested."""
        if self.wanted is not None:
            raise self.wanted

    def _hear(self, number: int, frame: object) -> None:
        if self.wanted is not None:
            return
        if number == signal.SIGALRM:
            self.wanted = Stopped(f"Unfinished after {self._max_hours:g} hours.", 0)
        else:
            self.wanted = Stopped(f"Stopped by {signal.Signals(number).name}.", CODES[number])
        if self.interruptible:
            raise self.wanted

    def _watch(self, reading: int) -> None:
        """Ends the process after a second signal, or if its main thread does not respond."""
        asked = None
        while True:
            patience = None
            if asked is not None and self.wanted is None:
                patience = max(0.0, asked + PATIENCE - time.monotonic())
            if select.select([reading], [], [], patience)[0]:
                number = int.from_bytes(os.read(reading, 1))
                if not number:
                    os.close(reading)
                    return
                if number not in CODES:
                    continue
                if asked is None:
                    asked, code = time.monotonic(), CODES[signal.Signals(number)]
                    # The handler must not log: it may have interrupted the writing of another line.
                    if not self.interruptible:
                        logger.info(
                            "Stopping: the run saves first. A second signal ends it at once."
                        )
                    continue
                if time.monotonic() - asked < ECHO:
                    continue
            elif self.wanted is not None:
                continue
            logger.warning("Stopped at once, without saving: the last checkpoint is kept.")
            os._exit(code)


class Stopping(keras.callbacks.Callback):
    """Stops after the step, or in the evaluation, in which a stop was requested.

    It has to follow `Progress` and `StopAtNaN`. The caller of `fit` catches `Stopped` and saves.

    Args:
        requests: The requests to stop this process.
        progress: Callback that counts the steps, earlier in the list of callbacks.
        agreed: Takes whether this worker must stop, and returns whether any worker must. All
            workers call it after the same steps. Default None: there is only one worker.
        every: Number of steps from one such call to the next. Default 10.
    """

    def __init__(
        self,
        requests: StopRequests,
        progress: Progress,
        agreed: Callable[[bool], bool] | None = None,
        every: int = 10,
    ):
        super().__init__()
        self.requests = requests
        self.progress = progress
        self.agreed = agreed
        self.every = every

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.requests.interruptible = False

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if self.agreed is None:
            self.requests.raise_if_wanted()
            return
        asks = self.progress.step % self.every == 0 or self.progress.epoch_is_trained
        wanted = self.requests.wanted
        if asks and self.agreed(wanted is not None):
            # Clocks differ by seconds: a worker whose time is not over yet stops with the others.
            by_signal = self.agreed(wanted is not None and wanted.code != 0)
            raise wanted or Stopped("Stopped with another worker.", 143 if by_signal else 0)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        # A single worker must not leave an evaluation that all workers take part in.
        self.requests.interruptible = self.agreed is None
        if self.agreed is None:
            self.requests.raise_if_wanted()
