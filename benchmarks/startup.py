"""Seconds to `--help`, to an import, and to the first training step; each in fresh processes.

    python -m benchmarks.startup

The first step is that of the default run, `python -m pa_keras.fit`, whose drawn set is cached.
"""

import subprocess
import sys
import tempfile
import time

from benchmarks.turns import Row, in_turns

# Ends the process after the first step.
FIRST_STEP = """
import os
from pa_keras import fit, run_callbacks
import keras
make = run_callbacks.make_callbacks
end = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: os._exit(0))
def with_end(*arguments):
    callbacks, saver = make(*arguments)
    return [*callbacks, end], saver
run_callbacks.make_callbacks = with_end
fit.main(["--run-dir", {folder!r}])
"""


def seconds(*arguments):
    """The function that measures the wall time of a process."""

    def measure():
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            given = [each.format(folder=f"{folder}/run") for each in arguments]
            subprocess.run([sys.executable, *given], check=True, capture_output=True)
            return time.perf_counter() - started

    return measure


def rows(turns=5):
    """Of starting up; the peer of a time with a bar is the bar."""
    sides = {
        "help": seconds("-m", "pa_keras.fit", "--help"),
        "first step": seconds("-c", FIRST_STEP),
        "ours": seconds("-c", "import keras, pa_keras"),
        "keras": seconds("-c", "import keras"),
    }
    values = in_turns(sides, turns)
    first, help_ = values["first step"], values["help"]
    return [
        Row("pa_keras.fit --help, against 1 s", "s", help_, [1.0] * turns, "<= 1"),
        Row("first step of the default run, against 15 s", "s", first, [15.0] * turns, "<= 1"),
        Row("import keras, pa_keras against import keras", "s", values["ours"], values["keras"]),
    ]


if __name__ == "__main__":
    print(*rows(), sep="\n")
