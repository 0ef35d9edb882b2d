"""A run that is asked to stop, by a signal or since its time is over, and saves first."""

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

# The exit codes that shells give to processes which these signals have ended.
CODES: dict[int, int] = {signal.SIGTERM: 143, signal.SIGINT: 130}
# Seconds that one call of TensorFlow may take before a stop does not wait for it any longer.
PATIENCE = 20.0
# A signal again within so many seconds is the same one, sent to a process and to its group.
ECHO = 1.0


class Stopped(KeyboardInterrupt):
    """A run has stopped before its end. Not an Exception, so that nothing on the way catches it.

    Args:
        reason: a sentence.
        code: of the process: 0 where its time was over.
    """

    def __init__(self, reason: str, code: int):
        super().__init__(reason)
        self.code = code


class StopRequests:
    """Turns SIGTERM, SIGINT and the end of the time into a `Stopped` at a point where it can save.

    While `interruptible`, which it is outside of the steps, `Stopped` is raised at once. Otherwise
    the request waits in `wanted`. Asked a second time, the process ends on the spot; so it does if
    one call of TensorFlow keeps it from hearing for `PATIENCE` seconds. A thread sees to that, as
    Python runs a signal's handler only between two calls. Outside of the main thread, where Python
    allows no handlers, nothing is changed.

    Args:
        max_hours: hours after which to stop. None: never.
        started: when they began, by `time.monotonic`. Default None: now.

    Raises:
        ValueError: max_hours is not above 0.

    Attributes:
        wanted: Stopped, what was asked for; None: nothing.
        interruptible: bool.

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
            # A byte, as the pipe's end would not be seen while a forked child holds it open.
            os.write(self._writing, b"\0")
            self._watcher.join()
            os.close(self._writing)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside, nothing is interrupted, such as a save; what was asked for is raised after it."""
        before, self.interruptible = self.interruptible, False
        try:
            yield
        finally:
            self.interruptible = before
        if before:
            self.raise_if_wanted()

    def raise_if_wanted(self) -> None:
        """Raises `Stopped` if it was asked for."""
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
        """Ends the process where its main thread cannot, or is asked to a second time."""
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
                    # Not in the handler, which may have interrupted another line of the log.
                    if not self.interruptible:
                        logger.info("Asked to stop: it saves first. A second signal ends it now.")
                    continue
                if time.monotonic() - asked < ECHO:
                    continue
            elif self.wanted is not None:
                continue
            logger.warning("Stopped at once, without saving: the state before is kept.")
            os._exit(code)


class Stopping(keras.callbacks.Callback):
    """Stops after the step in which it was asked for, or in the evaluation after an epoch.

    It stands after `Progress` and `StopAtNaN`; whoever calls `fit` catches `Stopped` and saves.

    Args:
        requests: what is asked of this process.
        progress: stands before it.
        agreed: from whether this worker was asked to stop to whether any was. It is called by all
            workers after the same steps. Default None: there is one worker alone.
        every: steps from one such call to the next. Default 10.
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
            # Clocks differ by seconds: a worker whose time is not over yet ends as the others do.
            by_signal = self.agreed(wanted is not None and wanted.code != 0)
            raise wanted or Stopped("Stopped with another worker.", 143 if by_signal else 0)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        # One worker alone must not leave an evaluation that all take part in.
        self.requests.interruptible = self.agreed is None
        if self.agreed is None:
            self.requests.raise_if_wanted()
