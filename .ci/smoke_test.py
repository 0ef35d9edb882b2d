"""The installed wheel does its main job in a folder of its own, from drawing to the export."""

import json
import subprocess
import sys
from pathlib import Path

import keras_cv  # noqa: F401  the wheel's own requirements, on this Python
import tensorflow_datasets  # noqa: F401

import pa_keras
from pa_keras import backbones, datasets

if not Path(pa_keras.__file__).is_relative_to(sys.prefix):
    sys.exit(f"Expected the installed package; imported {pa_keras.__file__}.")

backbones.build("efficientnet_lite0", (32, 32), weights=None)


def command(*arguments):
    subprocess.run([sys.executable, "-m", *arguments], check=True)


run = f"smoke-{sys.version_info.minor}"
command("pa_keras.fit", "--run-dir", run, "--training.epochs=6", "--evaluation.every=6")
recall = json.loads(Path(run, "result.json").read_text())["metrics"]["recall_at_1"]
if recall < 0.3:
    sys.exit(f"Expected Recall@1 of 0.3 or more after six epochs on glyphs; received {recall}.")
command("pa_keras.evaluate", "--run", run, "--json", f"{run}.json", "--picture", f"{run}.png")
again = json.loads(Path(f"{run}.json").read_text())["metrics"]["recall_at_1"]
if abs(again - recall) > 1e-3:
    sys.exit(f"Expected the Recall@1 of the run, {recall}, again; received {again}.")
folder = Path(datasets.load("glyphs").queries.paths[0]).parents[1]
command("pa_keras.embed", "--run", run, "--images", str(folder), "--out", f"{run}.npz")
command(
    "pa_keras.export", "--run", run, "--out", f"exports-{run}", "--gallery", f"{run}.npz",
    "--gallery-dtype", "int8", "--report-images", "200",
)  # fmt: skip
if not Path(f"exports-{run}", run, "1", "saved_model.pb").exists():
    sys.exit("Expected a SavedModel of the run.")
