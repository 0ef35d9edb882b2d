"""A peer in an environment and a process of its own, asked for one turn at a time."""

import os
import subprocess
from pathlib import Path

FOLDER = Path(os.environ.get("PA_KERAS_PEERS", Path.home() / ".cache" / "pa_keras" / "peers"))
HERE = Path(__file__).parent


class Peer:
    """A script of this folder that is ready, and answers each line with a number.

    Args:
        script: its name; it runs under the environment `torch` of make.sh.
        arguments: of the script.

    Raises:
        FileNotFoundError: there is no such environment.
        RuntimeError: the script ended before it was ready.
    """

    def __init__(self, script: str, *arguments: object) -> None:
        python = FOLDER / "torch" / "bin" / "python"
        if not python.exists():
            raise FileNotFoundError(
                f"Expected the peers' environment at {FOLDER}; make it by benchmarks/peers/make.sh."
            )
        self._process = subprocess.Popen(
            [str(python), str(HERE / script), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if self._process.stdout.readline().strip() != "ready":
            raise RuntimeError(f"Expected {script} to start; its message stands above.")

    def __call__(self) -> float:
        self._process.stdin.write("turn\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()
