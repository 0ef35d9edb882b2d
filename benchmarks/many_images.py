r"""Start-up of `fit` on a manifest of many images: seconds of each stage, and peak memory.

    python -m benchmarks.many_images make DIR --images 1000000 --classes 100000 --files 1000
    python -m benchmarks.many_images measure DIR
    python -m benchmarks.many_images measure DIR --balanced

`make` writes JPEGs of 160 px, a few kilobytes each, of which each has its own bytes, and hard links
to them until there are enough images. With as many files as images there are no links, as in a real
data set. `measure` goes through what `fit` does before its first step, stage by stage, and takes
that step. It writes the run folder to DIR/run, and deletes it afterwards.
"""

import argparse
import csv
import importlib
import io
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from unittest import mock

import numpy as np

from benchmarks.memory import memory

BASES = 100  # different pictures; the files of one picture differ in a comment only
FEWEST_IMAGES = 4  # of a class
SETTINGS = ["--dataset=manifest", "--model.backbone=conv4", "--model.weights=null"]
SETTINGS += ["--data.image_size=32", "--evaluation.before_training=false"]
BALANCED = ["--batches.sampling=balanced", "--batches.images_per_class=2"]
# What to time: module, function, and the line that reports it, which counts what it calls, too.
STAGES = (
    ("pa_keras.datasets", "load", "reading the manifest"),
    ("pa_keras.runs.data", "check_images", "checking the images of a part"),
    ("pa_keras.pipelines.sampling", "shuffled", "drawing the batches of an epoch"),
    ("pa_keras.pipelines.sampling", "balanced", "drawing the batches of an epoch"),
    ("pa_keras.runs.build", "build", "building the run: all above, the model, the batches"),
    ("pa_keras.runs.start", "fingerprint", "the fingerprint"),
    ("pa_keras.runs.start", "write_fingerprint", "writing the fingerprint"),
)


def main() -> None:
    """Makes the images, or measures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("make")
    making.add_argument("folder", type=Path)
    making.add_argument("--images", type=int, default=1_000_000)
    making.add_argument("--classes", type=int, default=100_000)
    making.add_argument("--files", type=int, default=1000, help="the others are hard links")
    measuring = commands.add_parser("measure")
    measuring.add_argument("folder", type=Path)
    measuring.add_argument("--balanced", action="store_true", help="balanced batches")
    options = parser.parse_args()
    if options.command == "make":
        make(options.folder, options.images, options.classes, options.files)
    else:
        measure(options.folder, options.balanced)


class Done(BaseException):
    """The first step was taken."""


def measure(folder: Path, balanced: bool) -> None:
    """Runs `fit` up to its first step, and prints each stage, the total, and the peak memory."""
    from pa_keras import fit

    settings = [*SETTINGS, *(BALANCED if balanced else [])]
    shutil.rmtree(folder / "run", ignore_errors=True)
    print(f"{'wall s':>8} {'CPU s':>8} {'peak MiB':>9}")
    with ExitStack() as stack, stage("from the start to the end of the first step"):
        with stage("importing TensorFlow and Keras"):
            import keras

            train = importlib.import_module("pa_keras.runs.train")
            importlib.import_module("pa_keras.runs.start")
        for module, function, title in STAGES:
            where = importlib.import_module(module)
            timed = stage(title)(getattr(where, function))
            stack.enter_context(mock.patch.object(where, function, timed))
        made = train.make_callbacks

        def make_callbacks(*arguments):
            callbacks, saver = made(*arguments)

            def stop(batch, logs):
                raise Done

            return [*callbacks, keras.callbacks.LambdaCallback(on_train_batch_end=stop)], saver

        stack.enter_context(mock.patch.object(train, "make_callbacks", make_callbacks))
        with suppress(Done):
            fit.main([*settings, f"--data_dir={folder}", f"--run_dir={folder / 'run'}"])
    shutil.rmtree(folder / "run", ignore_errors=True)


@contextmanager
def stage(title: str) -> Iterator[None]:
    """Prints the seconds of its block, or of the function that it decorates."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{wall:>8.1f} {cpu:>8.1f} {memory('VmHWM'):>9.0f}  {title}", flush=True)


def make(folder: Path, images: int, classes: int, files: int) -> None:
    """Writes the images, the links, and the manifest."""
    bases = [picture(seed) for seed in range(BASES)]
    rng = np.random.default_rng(0)
    rest = rng.multinomial(images - FEWEST_IMAGES * classes, np.full(classes, 1 / classes))
    labels = np.repeat(np.arange(classes), FEWEST_IMAGES + rest)
    written: list[Path] = []
    with open_manifest(folder) as manifest:
        rows = csv.writer(manifest)
        rows.writerow(("path", "class_id", "class_name"))
        for index, label in enumerate(labels.tolist()):
            path = Path(f"class {label:06}", f"{index}.jpg")
            (folder / path.parent).mkdir(exist_ok=True)
            if len(written) < files:
                (folder / path).write_bytes(with_comment(bases[index % BASES], index))
                written.append(folder / path)
            else:
                os.link(written[index % files], folder / path)
            rows.writerow((path, label, f"class {label:06}"))


@contextmanager
def open_manifest(folder: Path) -> Iterator[io.TextIOBase]:
    """Opens the manifest of a new folder."""
    folder.mkdir(parents=True)
    with (folder / "manifest.csv").open("w", newline="") as file:
        yield file


def picture(seed: int, size: int = 160) -> bytes:
    """Returns a JPEG of coloured clouds with noise."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    clouds = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
    pixels = np.asarray(clouds.resize((size, size), Image.Resampling.BICUBIC), np.int16)
    pixels = pixels + rng.normal(0, 8, pixels.shape).astype(np.int16)
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=85)
    return file.getvalue()


def with_comment(jpeg: bytes, number: int) -> bytes:
    """Returns the JPEG with a number in a comment after its first marker."""
    text = f"{number:09}".encode()
    return jpeg[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + jpeg[2:]


if __name__ == "__main__":
    main()
