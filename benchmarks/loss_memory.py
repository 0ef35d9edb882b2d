"""Peak bytes that a loss step adds to its process: python -m benchmarks.loss_memory C."""

import subprocess
import sys
from pathlib import Path

from benchmarks.memory import memory


def added(classes: int) -> int:
    """Measures in a new process, because memory freed earlier would hide what a step takes."""
    command = [sys.executable, "-m", "benchmarks.loss_memory", str(classes)]
    root = Path(__file__).parents[1]
    return int(subprocess.run(command, check=True, capture_output=True, text=True, cwd=root).stdout)


def main(classes: int, embedding_size: int = 16) -> None:
    """Measures and prints."""
    from benchmarks.parts.loss import our_step

    our_step(64, embedding_size)()  # TensorFlow allocates memory at its first step
    step = our_step(classes, embedding_size)
    before = memory("VmRSS")
    for _ in range(3):
        step()
    print(round(2**20 * (memory("VmHWM") - before)))


if __name__ == "__main__":
    main(int(sys.argv[1]))
