"""The input pipeline, JPEG files to random crops, compared with torchvision's loader."""

import tempfile
import time
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from benchmarks.cars import cars
from benchmarks.peer import Peer
from benchmarks.rows import Part, Row, Side, faster, in_turns, missing, no_slower
from pa_keras import pipelines
from pa_keras.pipelines.decoding import decode_jpeg_window

BATCH, BATCHES = 90, 8
FIRST = 4  # first batches of an iterator do not count: fit makes one per phase
PHOTOGRAPH, CROP, CAR_CROP = (500, 400), 224, 128
LOADER = "torchvision's DataLoader"
WHAT = f"JPEG of {PHOTOGRAPH[0]} x {PHOTOGRAPH[1]} to batches of {CROP} px"

INCLUDES = f"""\
Seconds for {BATCHES} batches of {BATCH}, after the first {FIRST} of an iterator: reading,
decoding, a random resized crop (8 to 100 % of the area), a flip, and the batch. The photographs
are those of Cars-196, enlarged to {PHOTOGRAPH[0]} x {PHOTOGRAPH[1]} and saved as JPEG of quality
90: with less detail than photographs of a camera they decode faster, for both sides. Ours decodes
only the crop. torchvision's side is an epoch of as many batches by `ImageFolder`'s loader, which
decodes the complete file, with `RandomResizedCrop`, `ToTensor` and two persistent workers. Both
resizes are antialiased. The decoder alone decodes crops of the same distribution on all threads
and discards their pixels. The antialiased resize is the limit: without it ours is 2.7 times as
fast, and networks are worse ([decisions](decisions.md#antialiased-resizing)).
"""


def measure(turns: int) -> Part:
    versions = {}
    try:
        images = cars().train
    except FileNotFoundError as problem:
        return Part([missing(WHAT, LOADER, str(problem))], INCLUDES)
    with tempfile.TemporaryDirectory() as folder:
        paths = photographs(Path(folder), images.paths[::8][: BATCH * BATCHES])
        sides = {"ours": batches(ours(paths, CROP)), "decoder": batches(decoded(paths))}
        try:
            with Peer("torch") as peer:
                versions = peer.versions
                settings = {"folder": folder, "pixels": CROP, "batch_size": BATCH}
                sides["loader"], _ = peer.side("loader", **settings)
                seconds = in_turns(sides, turns)
            rows = [faster(WHAT, seconds["ours"], seconds["loader"], LOADER, 2.5)]
        except FileNotFoundError as problem:
            seconds = in_turns(sides, turns)
            rows = [missing(WHAT, LOADER, str(problem))]
        rows.append(no_slower(WHAT, seconds["ours"], seconds["decoder"], "the decoder alone"))
    return Part([*rows, *_of_cars(images.paths, turns)], INCLUDES, versions=versions)


def photographs(folder: Path, paths: list[str]) -> list[str]:
    """Writes enlarged copies and returns their paths."""
    for i, path in enumerate(paths):
        image = Image.open(path).convert("RGB").resize(PHOTOGRAPH, Image.Resampling.BICUBIC)
        image.save(folder / f"{i:05d}.jpg", quality=90)
    return sorted(map(str, folder.glob("*.jpg")))


def ours(paths: list[str], pixels: int, cache: str = "none") -> tf.data.Dataset:
    """Returns our training batches, endless."""
    labels = np.zeros(len(paths), int)
    return pipelines.training_batches(
        paths,
        labels,
        batch_size=BATCH,
        image_size=(pixels, pixels),
        seed=0,
        cache=cache,
        endless=True,
    )


def decoded(paths: list[str]) -> tf.data.Dataset:
    """Returns batches that only decode windows in a parallel map."""
    windows = [_window(path, np.random.default_rng([0, i])) for i, path in enumerate(paths)]

    def first_value(path, window):
        return decode_jpeg_window(tf.io.read_file(path), window)[0, 0, 0]

    data = tf.data.Dataset.from_tensor_slices((list(paths), np.array(windows, np.int32))).repeat()
    return data.map(first_value, tf.data.AUTOTUNE).batch(BATCH).prefetch(tf.data.AUTOTUNE)


def batches(data: tf.data.Dataset) -> Side:
    """Makes a side that takes batches from a new iterator after its threads are busy."""

    def side() -> float:
        iterator = iter(data)
        for _ in range(FIRST):
            next(iterator)
        started = time.perf_counter()
        for _ in range(BATCHES):
            next(iterator)
        return time.perf_counter() - started

    return side


def _window(path: str, rng: np.random.Generator) -> tuple[int, int, int, int]:
    width, height = Image.open(path).size
    while True:
        area = rng.uniform(0.08, 1) * width * height
        shape = rng.uniform(np.log(3 / 4), np.log(4 / 3))
        w, h = (round((area * np.exp(sign * shape)) ** 0.5) for sign in (1, -1))
        if w <= width and h <= height:
            return rng.integers(height - h + 1), rng.integers(width - w + 1), h, w


def _of_cars(paths: list[str], turns: int) -> list[Row]:
    kinds = ("none", "files", "pixels")
    sides = {kind: batches(ours(paths, CAR_CROP, kind)) for kind in kinds}
    seconds = in_turns({**sides, "decoder": batches(decoded(paths))}, turns)
    what = f"cars of 160 px to batches of {CAR_CROP} px, data.cache="
    return [
        no_slower(f"{what}{kind}", seconds[kind], seconds["decoder"], "the decoder alone")
        for kind in kinds
    ]
