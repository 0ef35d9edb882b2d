"""Signals and the time limit: what stops at once, what waits, and what ends the process."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from pa_keras.training.callbacks.preemption import Stopped, Stopping, StopRequests
from pa_keras.training.callbacks.progress import Progress


def ask(number=signal.SIGTERM):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_outside_of_the_steps_it_stops_at_once(number, code):
    with StopRequests(), pytest.raises(Stopped, match="Stopped by SIG") as stopped:
        ask(number)
    assert stopped.value.code == code


def test_in_the_steps_it_waits(caplog):
    with StopRequests() as requests:
        requests.interruptible = False
        ask()
        assert requests.wanted.code == 143
        with pytest.raises(Stopped):
            requests.raise_if_wanted()


def test_a_save_is_not_interrupted():
    done = []
    with StopRequests() as requests:
        with pytest.raises(Stopped), requests.held():
            ask()
            done.append("written")
        assert done and requests.interruptible


def test_an_error_in_a_save_is_not_hidden():
    with StopRequests() as requests:
        with pytest.raises(OSError, match="full"), requests.held():
            ask()
            raise OSError("full")
        assert requests.interruptible


def test_handlers_are_put_back():
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)
    before = [signal.getsignal(number) for number in numbers]
    with StopRequests(max_hours=1):
        assert signal.getsignal(signal.SIGTERM) not in before and len(_listening()) == 1
    assert [signal.getsignal(number) for number in numbers] == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.set_wakeup_fd(-1) == -1
    assert not _listening()


def _listening():
    return [thread for thread in threading.enumerate() if thread.name == "stop requests"]


def test_the_time_is_over():
    with StopRequests(max_hours=0.05 / 3600), pytest.raises(Stopped) as stopped:
        time.sleep(5)
    assert stopped.value.code == 0 and str(stopped.value).startswith("Unfinished after")


def test_the_time_counts_from_the_start_of_the_process():
    begun = time.monotonic() - 3600
    with pytest.raises(Stopped), StopRequests(max_hours=0.5, started=begun):
        time.sleep(5)


def test_in_another_thread_signals_are_left_alone():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def use():
        with StopRequests(max_hours=1) as requests:
            seen.append((signal.getsignal(signal.SIGTERM), requests.wanted))

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert seen == [(before, None)]


BUSY = """
import sys, time
from pa_keras.training.callbacks import preemption
preemption.PATIENCE = {patience}
with preemption.StopRequests() as requests:
    requests.interruptible = False
    sys.stdout.write("ready\\n"); sys.stdout.flush()
    {work}
"""
# A call that keeps the main thread outside of Python, as a call of TensorFlow can.
NATIVE = "import hashlib; hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)"
PYTHON = "[time.sleep(0.05) for _ in range(2000)]"


@pytest.mark.large  # each starts a process that imports TensorFlow
@pytest.mark.parametrize(
    ("work", "patience", "signals"),
    [(NATIVE, 2.0, [0.0]), (PYTHON, 60.0, [0.0, 1.5]), (NATIVE, 60.0, [0.0, 1.5])],
    ids=["a call that never ends", "asked twice", "asked twice in such a call"],
)
def test_what_cannot_wait_ends_on_the_spot(work, patience, signals):
    code = BUSY.format(work=work, patience=patience)
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    for wait in signals:
        time.sleep(wait)
        process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 143
    process.communicate()


@pytest.mark.large
def test_the_same_signal_to_process_and_group_is_one():
    code = BUSY.format(work=PYTHON, patience=60.0)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    for _ in range(2):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(2)
    process.kill()
    process.communicate()


class Agreement:
    """Steps of two workers: the other one is asked to stop, from its third answer."""

    def __init__(self, by_signal):
        self.asked, self.by_signal = [], by_signal

    def __call__(self, wanted):
        self.asked.append(wanted)
        return len(self.asked) == 3 or (len(self.asked) == 4 and self.by_signal)


@pytest.mark.parametrize(("by_signal", "code"), [(True, 143), (False, 0)])
def test_workers_agree_every_few_steps_and_stop_together(by_signal, code):
    requests, progress, agreed = StopRequests(), Progress(25, 4), Agreement(by_signal)
    stopping = Stopping(requests, progress, agreed, every=10)
    stopping.on_epoch_begin(0)
    asked_at = []
    with pytest.raises(Stopped, match="another worker") as stopped:
        for batch in range(25):
            progress.on_train_batch_end(batch)
            before = len(agreed.asked)
            stopping.on_train_batch_end(batch)
            if len(agreed.asked) > before:
                asked_at.append(batch + 1)
    assert asked_at == [10, 20] and progress.step == 25, "and at the end of the epoch"
    assert stopped.value.code == code
    stopping.on_epoch_end(0)
    assert not requests.interruptible, "none leaves an evaluation that all take part in"
