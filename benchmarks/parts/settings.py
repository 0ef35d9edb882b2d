"""Threads and oneDNN: the training step with settings other than TensorFlow's defaults."""

import json
import os
import subprocess
import sys

from benchmarks.rows import Part, Side, here, in_turns, no_slower

NETWORK = "efficientnet_lite0"
THREADS = str(len(os.sched_getaffinity(0)))
SETTINGS = {
    "oneDNN off": {"TF_ENABLE_ONEDNN_OPTS": "0"},
    "one thread an operation": {"TF_NUM_INTRAOP_THREADS": "1"},
    "one operation at a time": {"TF_NUM_INTEROP_THREADS": "1"},
    "twice the cores": {
        "TF_NUM_INTRAOP_THREADS": str(2 * int(THREADS)),
        "TF_NUM_INTEROP_THREADS": str(2 * int(THREADS)),
    },
}

INCLUDES = f"""\
A step of {NETWORK} as in the section on training, each turn in a separate process with the
environment variables of the row: {
    "; ".join(
        f"{name}, " + " ".join(f"{key}={value}" for key, value in variables.items())
        for name, variables in SETTINGS.items()
    )
}. The defaults are oneDNN, and as many threads as cores for both.
"""


def measure(turns: int) -> Part:
    sides = {name: process(variables) for name, variables in SETTINGS.items()}
    seconds = in_turns({**sides, "defaults": process({})}, turns)
    rows = [no_slower(name, seconds[name], seconds["defaults"], "defaults") for name in SETTINGS]
    return Part(rows, INCLUDES)


def process(variables: dict[str, str]) -> Side:
    """Makes a side that measures in a process with these environment variables."""

    def side() -> float:
        command = [sys.executable, "-m", __name__]
        environment = {**os.environ, **variables}
        done = subprocess.run(
            command, env=environment, check=True, stdout=subprocess.PIPE, text=True
        )
        return json.loads(done.stdout.splitlines()[-1])

    return side


def main() -> None:
    """Measures a step in this process and prints its seconds."""
    from benchmarks.parts.step import bare_step, one_batch, trained

    step = here(bare_step(trained(NETWORK), one_batch(NETWORK)), seconds=2)
    print(json.dumps(step()))


if __name__ == "__main__":
    main()
