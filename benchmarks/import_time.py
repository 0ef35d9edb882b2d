"""Seconds of `import pa_keras` after `import keras`, and of `--help`: medians of fresh processes.

python benchmarks/import_time.py
"""

import statistics
import subprocess
import sys
import time


def seconds(*arguments):
    """Wall time of one process."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - started


def main(turns=5):
    """Measures in turns and prints."""
    commands = {
        "import keras": ("-c", "import keras"),
        "import keras, pa_keras": ("-c", "import keras, pa_keras"),
        "import pa_keras": ("-c", "import pa_keras"),
        "pa_keras.fit --help": ("-m", "pa_keras.fit", "--help"),
    }
    taken = {name: [] for name in commands}
    for _ in range(turns):
        for name, arguments in commands.items():
            taken[name].append(seconds(*arguments))
    for name, times in taken.items():
        print(
            f"{name:<24} {statistics.median(times):6.2f} s   of {min(times):.2f}-{max(times):.2f}"
        )


if __name__ == "__main__":
    main()
