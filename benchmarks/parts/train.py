"""Training from files: `fit` compared with PyTorch, PyTorch Metric Learning and torchvision."""

import csv
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cars import cars
from benchmarks.peer import SERVERS, folder
from benchmarks.process import tcmalloc
from benchmarks.rows import Part, Row, duration, faster, missing
from pa_keras import datasets

SMALL, LARGE = 112, 160  # pixels
BATCH, RATE = 90, 3e-4
GOAL, MOST_EPOCHS = 0.70, 4  # of the race to a Recall@1, at the smaller size
PEER = "PyTorch"

INCLUDES = f"""\
EfficientNet-Lite0 with the same ImageNet weights on the 8,054 training images of Cars-196 (160 px
JPEG), batches of {BATCH}, random crops of 20 to 100 % of the area, flips, frozen batch norm,
Proxy-Anchor, gradients clipped, AdamW at {RATE:g} with proxies at 100 times that, no warm-up.
Ours is `python -m pa_keras.fit --data.cache none`. PyTorch's side is timm's network in
channels_last, torchvision's loader with two persistent workers, PyTorch Metric Learning's
`ProxyAnchorLoss` and fused AdamW, with tcmalloc if it is installed. An epoch lasts from the first
file that is read to the last step, and our first includes tracing. At {SMALL} px they are the
epochs of a race to a Recall@1 of {100 * GOAL:.0f} on the 8,131 unseen test images, {MOST_EPOCHS} on
each side; its row has Recall@1 after each, and the seconds of all epochs up to the goal, without
the evaluations. At {LARGE} px there is one epoch, which PyTorch's side does not evaluate. The
memory is the peak of all processes of a side, shared pages counted once.
"""


def measure(turns: int) -> Part:
    """Measures the epochs of a race and one of larger images; `turns` would take hours."""
    python = folder() / "torch" / "bin" / "python"
    try:
        data = cars()
        weights = _weights()
    except FileNotFoundError as problem:
        return Part([missing("one epoch of cars", PEER, str(problem))], INCLUDES)
    if not python.exists():
        problem = "no torch environment; run `bash benchmarks/peers/make.sh`"
        return Part([missing("one epoch of cars", PEER, problem)], INCLUDES)
    sides = {
        "ours": lambda *asked: _ours(data, *asked),
        "torch": lambda *asked: _torch(python, data, weights, *asked),
    }
    rows, notes = [], []
    for pixels, epochs in ((SMALL, MOST_EPOCHS), (LARGE, 1)):
        runs = {side: run(pixels, epochs, 0) for side, run in sides.items()}
        seconds = {side: np.array(runs[side]["seconds"]) for side in sides}
        what = f"an epoch of cars from files, {pixels} px"
        rows.append(faster(what, seconds["ours"], seconds["torch"], PEER, 1.3))
        notes += [_note(what, side, runs[side], len(data.train)) for side in sides]
        if epochs > 1:
            rows.append(_race(runs))
    return Part(rows, INCLUDES, "\n".join(notes))


def _race(runs: dict[str, dict]) -> Row:
    """The seconds of training to the goal; Recall@1 of the epochs stands beside them."""
    spent = {}
    for side, run in runs.items():
        reached = [i for i, value in enumerate(run["recalls"]) if value >= GOAL]
        spent[side] = sum(run["seconds"][: reached[0] + 1]) if reached else None
    what = f"training to Recall@1 of {100 * GOAL:.0f}, {SMALL} px"
    curves = {
        side: " ".join(f"{100 * value:.1f}" for value in run["recalls"])
        for side, run in runs.items()
    }
    names = {
        side: f"{'not reached' if spent[side] is None else duration(spent[side])} ({curves[side]})"
        for side in runs
    }
    if spent["ours"] is None or spent["torch"] is None:
        return Row(what, names["ours"], f"{PEER} {names['torch']}")
    ratio = f"{spent['torch'] / spent['ours']:.2f} x as fast"
    return Row(what, names["ours"], f"{PEER} {names['torch']}", ratio)


def _ours(data: datasets.Dataset, pixels: int, epochs: int, seed: int) -> dict[str, Any]:
    """Trains by the command; returns the seconds and recalls of the epochs, and the peak memory."""
    root = Path(os.environ["PA_KERAS_DATA"], "cars196")
    settings = {
        "dataset": "manifest", "data_dir": str(root), "seed": seed, "data.image_size": pixels,
        "data.crop_fraction": 1.0, "data.cache": "none", "batches.batch_size": BATCH,
        "augmentation.area": "[0.2,1.0]", "model.backbone": "efficientnet_lite0",
        "model.batch_norm": "frozen", "optimizer.learning_rate": RATE,
        "optimizer.proxies_multiplier": 100, "optimizer.decay": "constant",
        "training.epochs": epochs, "training.warmup_epochs": 0,
        "training.selection": "reference_protocol", "evaluation.before_training": "false",
        "logging.pictures": "false",
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as work:
        command = [sys.executable, "-m", "pa_keras.fit", f"--run_dir={work}/run"]
        peak = _run([*command, *(f"--{name}={value}" for name, value in settings.items())])
        with open(f"{work}/run/metrics.csv", newline="") as file:
            rows = list(csv.DictReader(file))
    return {
        "seconds": [float(row["seconds"]) for row in rows],
        "recalls": [float(row["recall_at_1"]) for row in rows],
        "peak": peak,
    }


def _torch(
    python: Path, data: datasets.Dataset, weights: str, pixels: int, epochs: int, seed: int
) -> dict[str, Any]:
    """Trains by `torch_training.py`; returns the same as `_ours`."""
    settings = {
        "train": _part(data.training_images()),
        "test": _part(data.queries),
        "weights": weights,
        "pixels": pixels,
        "batch_size": BATCH,
        "rate": RATE,
        "epochs": epochs,
        "seed": seed,
    }
    with tempfile.TemporaryDirectory() as work:
        asked, results = Path(work, "settings.json"), Path(work, "results.jsonl")
        asked.write_text(json.dumps(settings))
        program = str(SERVERS / "torch_training.py")
        peak = _run([str(python), program, str(asked), str(results)], tcmalloc())
        rows = [json.loads(line) for line in results.read_text().splitlines()]
    return {
        "seconds": [row["seconds"] for row in rows],
        "recalls": [row["recall_at_1"] for row in rows],
        "peak": peak,
    }


def _part(images: datasets.Images) -> dict[str, list]:
    return {"paths": list(images.paths), "labels": images.labels.tolist()}


def _weights() -> str:
    """The ImageNet weights of EfficientNet-Lite0 that both sides begin with."""
    file = Path(os.environ.get("PA_KERAS_WEIGHTS", ""), "efficientnet_lite0")
    file = file / "efficientnet_lite0_f32.npz"
    if not file.exists():
        raise FileNotFoundError("no weights; set PA_KERAS_WEIGHTS to the folder with them")
    return str(file)


def _run(command: list[str], variables: dict[str, str] | None = None) -> int:
    """Runs a command and returns the peak memory of it and its children, in bytes."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONHOME"} | (variables or {})
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    peak = 0

    def watch() -> None:
        nonlocal peak
        while process.poll() is None:
            peak = max(peak, sum(map(_proportional_memory, _tree(process.pid))))
            time.sleep(1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    watcher.join()
    if process.returncode:
        raise RuntimeError(f"{command[:4]} ended with {process.returncode}.")
    return peak


def _tree(pid: int) -> list[int]:
    """A process and its descendants that still run."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(each for child in children for each in _tree(int(child)))]


def _proportional_memory(pid: int) -> int:
    """The memory of a process in bytes, with its share of pages that several processes use."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def _note(what: str, side: str, run: dict, number: int) -> str:
    rate, memory = number / float(np.median(run["seconds"])), run["peak"] / 1e9
    name = "ours" if side == "ours" else PEER
    return f"{what}, {name}: {rate:.0f} images per second, {memory:.1f} GB.\n"
