"""A peer in a separate Python, which runs cases on request, so that both sides take turns.

`benchmarks/peers/make.sh` makes the environments. Requests and responses are lines of JSON.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.process import tcmalloc
from benchmarks.rows import Side

SERVERS = Path(__file__).with_name("peers")


class Peer:
    """The process of `benchmarks/peers/serve_NAME.py`, used as a context manager.

    Args:
        name: Name of the environment and the server: "torch".

    Raises:
        FileNotFoundError: If the environment does not exist.
    """

    def __init__(self, name: str) -> None:
        python = folder() / name / "bin" / "python"
        if not python.exists():
            raise FileNotFoundError(f"no {name} environment; run `bash benchmarks/peers/make.sh`")
        # The settings of this Python would not fit the Python of the peer.
        environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
        environment |= tcmalloc()  # which PyTorch is faster with
        self._process = subprocess.Popen(
            [python, SERVERS / f"serve_{name}.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.versions: dict[str, str] = self.ask()

    def ask(self, **request: Any) -> Any:
        """Returns the response to a request; raises a RuntimeError with the peer's message."""
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
        """Makes a side that runs a case; also returns its first result. Replaces the last case."""
        found = self.ask(prepare=case, seconds=seconds, settings=settings)
        return lambda: self.ask(run=case), found

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *problem: object) -> None:
        self._process.stdin.close()
        self._process.wait()


def folder() -> Path:
    """Returns the folder of the environments: $PA_KERAS_PEERS or ~/.cache/pa_keras/peers."""
    return Path(os.environ.get("PA_KERAS_PEERS", Path.home() / ".cache/pa_keras/peers"))
