"""A side in a separate process, with environment variables of its own, that runs on request."""

import ctypes.util
import os
import subprocess
import sys
from collections.abc import Callable, Mapping


class Process:
    """A Python process that measures a call each time it is asked; a context manager.

    Args:
        module: Module to run; its `main` ends with `serve`.
        arguments: Its command line.
        variables: Environment variables to set; "" removes a variable.
    """

    def __init__(self, module: str, arguments: list[str], variables: Mapping[str, str]) -> None:
        environment = {**os.environ, **variables}
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={name: value for name, value in environment.items() if value},
        )

    def side(self) -> float:
        """Runs one turn and returns the seconds of one call."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("The process ended; its message is above.")
        return float(line)

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *problem: object) -> None:
        self._process.stdin.close()
        self._process.wait()


def serve(side: Callable[[], float]) -> None:
    """Runs a turn for each line of the input and writes its seconds."""
    answers, sys.stdout = sys.stdout, sys.stderr  # libraries must not print into the answers
    for _ in sys.stdin:
        answers.write(f"{side()}\n")
        answers.flush()


def tcmalloc() -> dict[str, str]:
    """The variable that gives a process tcmalloc, or an empty one if it is not installed.

    It is Debian's libtcmalloc-minimal4; $PA_KERAS_TCMALLOC may name another file.
    """
    name = os.environ.get("PA_KERAS_TCMALLOC") or ctypes.util.find_library("tcmalloc_minimal")
    return {"LD_PRELOAD": name} if name else {}
