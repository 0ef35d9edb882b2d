"""Start-up: the help, an import, and the first training step, each in a separate process."""

import subprocess
import sys
import tempfile
import time

import numpy as np

from benchmarks.rows import Part, Row, Side, duration, in_turns, no_slower

# Ends the process after the first step.
FIRST_STEP = """
import os
from pa_keras import fit
from pa_keras.runs import train
import keras
make = train.make_callbacks
end = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: os._exit(0))
def with_end(*arguments):
    callbacks, saver = make(*arguments)
    return [*callbacks, end], saver
train.make_callbacks = with_end
fit.main(["--run-dir", {folder!r}])
"""
AT_MOST = {"pa_keras.fit --help": 1.0, "first step of the default run": 12.0}

INCLUDES = """\
Wall time of a process, from its start to its end. The first step is that of `python -m
pa_keras.fit` without arguments, with a set drawn before; the process ends after it.
"""


def measure(turns: int) -> Part:
    sides = {
        "pa_keras.fit --help": process("-m", "pa_keras.fit", "--help"),
        "first step of the default run": process("-c", FIRST_STEP),
        "import keras, pa_keras": process("-c", "import keras, pa_keras"),
        "import keras": process("-c", "import keras"),
    }
    for side in sides.values():
        side()  # loads the files into memory
    seconds = in_turns(sides, turns)
    rows = [_against_a_limit(name, seconds[name], limit) for name, limit in AT_MOST.items()]
    ours = seconds["import keras, pa_keras"]
    rows.append(no_slower("import keras, pa_keras", ours, seconds["import keras"], "import keras"))
    return Part(rows, INCLUDES)


def process(*arguments: str) -> Side:
    """Makes a side that runs Python with these arguments."""

    def side() -> float:
        with tempfile.TemporaryDirectory() as folder:
            given = [each.format(folder=f"{folder}/run") for each in arguments]
            started = time.perf_counter()
            subprocess.run([sys.executable, *given], check=True, capture_output=True)
            return time.perf_counter() - started

    return side


def _against_a_limit(what: str, seconds: np.ndarray, limit: float) -> Row:
    median = float(np.median(seconds))
    low, high = np.quantile(seconds, [0.25, 0.75])
    spread = f"{duration(low)} to {duration(high)}"
    return Row(what, duration(median), "", "", spread, f"<= {limit:g} s", median <= limit)
