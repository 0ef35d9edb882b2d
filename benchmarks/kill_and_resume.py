"""Kills runs of `fit` at random moments, resumes them, and compares them with a complete run.

    python benchmarks/kill_and_resume.py --kills 20

One small run is not interrupted. Each of the others is killed by SIGKILL at a uniformly random
moment of its time, including start-up and evaluation, every third of them twice, and resumed to its
end. The last checkpoint, including the optimizer, the weights of the best model, and metrics.csv
without its time columns must be identical bit for bit. With --signal TERM, a run must also save and
exit with code 143. The runs are deterministic; otherwise only the order of the data is guaranteed.
"""

import argparse
import csv
import io
import os
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

SETTINGS = """
model: {backbone: conv4, weights: null, batch_norm: train, embedding_size: 32}
data: {image_size: 32, crop_fraction: 1.0, test_fraction: 0.3}
batches: {batch_size: 4}
augmentation: {extra: random_erasing}
optimizer: {learning_rate: 0.001}
training: {epochs: 4, warmup_epochs: 1, deterministic: true, save_minutes: 0.002}
logging: {pictures: false}
"""


def main():
    """Runs all and prints one line for each; exits with code 1 unless all are identical."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="runs to kill")
    parser.add_argument("--times", type=int, help="kills of each run; default 1, every third 2")
    parser.add_argument("--signal", choices=("KILL", "TERM"), default="KILL")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    number = signal.Signals[f"SIG{options.signal}"]
    rng = np.random.default_rng(options.seed)
    same = 0
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_images(root / "images")
        (root / "settings.yaml").write_text(SETTINGS)
        started = time.monotonic()
        finish(root, "alone")
        duration = time.monotonic() - started
        print(f"left alone: {duration:.1f} s")
        expected = outcome(root / "alone")
        for run in range(1, options.kills + 1):
            name = f"run-{run}"
            moments = rng.uniform(0, duration, options.times or (2 if run % 3 == 0 else 1))
            kept = [stop(root, name, moment, number) for moment in moments]
            finish(root, name)
            different = differences(expected, outcome(root / name))
            same += not different
            print(f"{run:3}: " + "; ".join(kept) + f": {', '.join(different) or 'the same'}")
    print(f"{same} of {options.kills} the same to the bit")
    sys.exit(same != options.kills)


def make_images(root):
    """Makes 20 classes of 40 small images: a class has a colour, an image a shade of it."""
    rng = np.random.default_rng(0)
    for label in range(20):
        (root / f"class {label}").mkdir(parents=True)
        colour = rng.integers(60, 195, 3)
        for image in range(40):
            pixels = colour + rng.integers(-60, 60, (40, 40, 3))
            Image.fromarray(pixels.astype("uint8")).save(root / f"class {label}" / f"{image}.png")


def start(root, name):
    """Starts or resumes a run, as its folder requires, and returns the process."""
    command = [sys.executable, "-m", "pa_keras.fit", f"--run-dir={root / name}"]
    if (root / name / "config.yaml").exists():
        command += ["--resume"]
    else:
        command += ["--config", str(root / "settings.yaml")]
        command += ["--dataset", "folder", "--data-dir", str(root / "images")]
    log = (root / f"{name}.log").open("a")
    return subprocess.Popen(command, stdout=log, stderr=log)


def stop(root, name, moment, number):
    """Starts a run, sends a signal after `moment` seconds, and describes the remaining state."""
    process = start(root, name)
    try:
        code = process.wait(moment)
        return f"ended before {moment:.1f} s with {code}"
    except subprocess.TimeoutExpired:
        process.send_signal(number)
    asked = time.monotonic()
    code = process.wait()
    took = time.monotonic() - asked
    # Before our handlers are installed, the signal itself ends Python.
    if number == signal.SIGTERM and code not in (143, 0, -signal.SIGTERM):
        raise SystemExit(f"{name} ended with {code} at {moment:.1f} s:\n{log_of(root, name)}")
    states = sorted(path.stem for path in (root / name / "state").glob("*.json"))
    return f"{moment:5.1f} s, {code} after {took:.1f} s, {states[-1] if states else 'no state'}"


def finish(root, name):
    """Runs a run to its end."""
    if start(root, name).wait():
        raise SystemExit(f"{name} has failed:\n{log_of(root, name)}")


def log_of(root, name):
    """Returns the last lines of the log of a run."""
    return "\n".join((root / f"{name}.log").read_text().splitlines()[-20:])


def outcome(folder):
    """Returns everything that must be identical, by name: bytes of arrays, and rows of metrics."""
    *_, last = sorted((folder / "state").glob("*.npz"))
    with zipfile.ZipFile(folder / "best.keras") as archive:
        best = io.BytesIO(archive.read("model.weights.h5"))
    with np.load(last) as state:
        found = {f"state {name}": state[name].tobytes() for name in state.files}
    found |= {f"best {name}": value for name, value in arrays(best).items()}
    with (folder / "metrics.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            kept = {k: v for k, v in row.items() if k not in ("seconds", "images_per_second")}
            found[f"metrics of epoch {row['epoch']}"] = str(kept)
    return found


def arrays(file):
    """Returns the bytes of each array in an HDF5 file."""
    found = {}
    with h5py.File(file) as content:
        content.visititems(
            lambda name, item: (
                found.__setitem__(name, item[()].tobytes())
                if isinstance(item, h5py.Dataset)
                else None
            )
        )
    return found


def differences(expected, received):
    """Returns the names of everything that differs."""
    names = expected.keys() | received.keys()
    return sorted(name for name in names if expected.get(name) != received.get(name))


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    main()
