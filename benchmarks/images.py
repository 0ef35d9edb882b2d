"""The input pipeline against torchvision's loader and against the decoder alone.

    PA_KERAS_DATA=... PA_KERAS_PEERS=... python -m benchmarks.images

The photographs are those of Cars-196, enlarged to 500 x 400 and saved as JPEG of quality 90 in a
temporary folder: they have less detail than a camera's, and so decode faster, for both sides.
"""

import os
import tempfile
import time
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from benchmarks.peers.process import Peer
from benchmarks.turns import Row, in_turns
from pa_keras import datasets, pipelines

BATCH_SIZE = 90
BATCHES = 8


def photographs(folder, paths, size=(500, 400)):
    """Enlarged copies; their paths."""
    for i, path in enumerate(paths):
        image = Image.open(path).convert("RGB").resize(size, Image.Resampling.BICUBIC)
        image.save(Path(folder, f"{i:05d}.jpg"), quality=90)
    return sorted(map(str, Path(folder).glob("*.jpg")))


def rate(batches):
    """The function that measures images a second of so many batches, from no buffer on."""

    def measure():
        started = time.perf_counter()
        for _ in batches.take(BATCHES):
            pass
        return BATCHES * BATCH_SIZE / (time.perf_counter() - started)

    return measure


def ours(paths, size, area=(0.08, 1.0), cache="none"):
    """Our training batches."""
    return pipelines.training_batches(
        paths,
        np.zeros(len(paths), int),
        batch_size=BATCH_SIZE,
        image_size=(size, size),
        seed=0,
        area=area,
        cache=cache,
    )


def decoder(paths):
    """Nothing but windows of the same distribution, decoded in a parallel map."""
    windows = [_window(path, np.random.default_rng([0, i])) for i, path in enumerate(paths)]

    def decoded(path, window):
        pixels = pipelines.decoding.decode_jpeg_window(tf.io.read_file(path), window)
        return pixels[0, 0, 0]

    data = tf.data.Dataset.from_tensor_slices((paths, np.array(windows, np.int32))).repeat()
    return data.map(decoded, tf.data.AUTOTUNE).batch(BATCH_SIZE).prefetch(tf.data.AUTOTUNE)


def _window(path, rng):
    width, height = Image.open(path).size
    while True:
        area, shape = (
            rng.uniform(0.08, 1) * width * height,
            rng.uniform(np.log(3 / 4), np.log(4 / 3)),
        )
        w, h = (round((area * np.exp(sign * shape)) ** 0.5) for sign in (1, -1))
        if w <= width and h <= height:
            return rng.integers(height - h + 1), rng.integers(width - w + 1), h, w


def rows(turns=5):
    """Of the input pipeline."""
    cars = datasets.load("manifest", str(Path(os.environ["PA_KERAS_DATA"], "cars196"))).train
    with tempfile.TemporaryDirectory() as folder:
        yield from of_photographs(folder, photographs(folder, cars.paths[::8]), turns)
    kinds = ("none", "files", "pixels")
    sides = {kind: rate(ours(cars.paths, 128, cache=kind)) for kind in kinds}
    values = in_turns({**sides, "decoder": rate(decoder(list(cars.paths)))}, turns)
    for kind in kinds:
        what = f"cars of 160 px to random crops of 128, cache {kind}, against the decoder"
        yield Row(what, "images/s", values[kind], values["decoder"])


def of_photographs(folder, paths, turns):
    """Against torchvision, if it is there, and against the decoder."""
    sides = {"ours": rate(ours(paths, 224)), "decoder": rate(decoder(paths))}
    try:
        peer = sides["peer"] = Peer("torch_loader.py", folder, 224, BATCH_SIZE)
    except (FileNotFoundError, RuntimeError) as error:
        print(error)
    values = in_turns(sides, turns)
    name = "JPEG 500 x 400 to random crops of 224"
    if "peer" in sides:
        peer.close()
        what = f"{name} against torchvision's DataLoader, 2 workers"
        yield Row(what, "images/s", values["ours"], values["peer"], ">= 2.5")
    what = f"{name} against decoding the windows alone"
    yield Row(what, "images/s", values["ours"], values["decoder"])


if __name__ == "__main__":
    for row in rows():
        print(row, flush=True)
