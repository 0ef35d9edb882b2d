"""A peer in a Python of its own, which runs a case when asked: so that both sides take turns.

Its environments are made by `benchmarks/peers/make.sh`. Requests and answers are JSON, one a line.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.rows import Side

SERVERS = Path(__file__).with_name("peers")


class Peer:
    """The process of `benchmarks/peers/serve_NAME.py`, used as a context manager.

    Args:
        name: of the environment and the server: "torch".

    Raises:
        FileNotFoundError: without that environment.
    """

    def __init__(self, name: str) -> None:
        python = folder() / name / "bin" / "python"
        if not python.exists():
            raise FileNotFoundError(f"no {name} environment; run `bash benchmarks/peers/make.sh`")
        # The two projects' own settings would not fit the peer's Python.
        environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
        self._process = subprocess.Popen(
            [python, SERVERS / f"serve_{name}.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.versions: dict[str, str] = self.ask()

    def ask(self, **request: Any) -> Any:
        """The answer to one request; a RuntimeError with the peer's words where it failed."""
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("The peer ended; its message is above.")
        answer = json.loads(line)
        if "problem" in answer:
            raise RuntimeError(f"The peer failed: {answer['problem']}")
        return answer["found"]

    def side(self, case: str, seconds: float = 0.1, **settings: Any) -> tuple[Side, Any]:
        """The side that runs a case, and what its first call gave; the last case is forgotten."""
        found = self.ask(prepare=case, seconds=seconds, settings=settings)
        return lambda: self.ask(run=case), found

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *problem: object) -> None:
        self._process.stdin.close()
        self._process.wait()


def folder() -> Path:
    """Of the environments: $PA_KERAS_PEERS, or ~/.cache/pa_keras/peers."""
    return Path(os.environ.get("PA_KERAS_PEERS", Path.home() / ".cache/pa_keras/peers"))
