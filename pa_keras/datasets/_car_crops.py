"""Crops photographs of cars to their annotated boxes, and writes the crops once."""

import hashlib
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from pa_keras.datasets.cache import cache_folder, progress, write_once


class Car(NamedTuple):
    """A photograph, its class (from 0) and its box (x1, y1, x2, y2), one-based and inclusive."""

    path: str
    label: int
    box: tuple[int, int, int, int]


def crop_cars(cars: Sequence[Car]) -> list[str]:
    """Writes the crops, unless they exist for the same files and boxes, and returns their paths."""
    # The key includes modification times, so that a repaired photograph is cropped again.
    sources = [(car.path, car.box, os.stat(car.path).st_mtime_ns) for car in cars]
    key = hashlib.sha256(repr(sources).encode()).hexdigest()[:12]
    names = [f"{Path(car.path).parent.name}_{Path(car.path).stem}.jpg" for car in cars]

    def write(folder: Path) -> None:
        # Decoding and encoding release the interpreter lock, so threads help.
        with ThreadPoolExecutor() as pool:
            done = pool.map(_write_crop, cars, [folder / name for name in names])
            for _ in progress(done, len(cars), "Cropping cars"):
                pass

    folder = write_once(cache_folder() / "cars196" / f"crops-{key}", write)
    return [str(folder / name) for name in names]


def _write_crop(car: Car, target: Path) -> None:
    from PIL import Image

    try:
        with Image.open(car.path) as photograph:
            crop = photograph.crop(_pixel_box(car, *photograph.size)).convert("RGB")
    except OSError:
        # Copy the broken file as it is: the check of all images reports it or leaves it out.
        shutil.copyfile(car.path, target)
    else:
        crop.save(target, quality=95)


def _pixel_box(car: Car, width: int, height: int) -> tuple[int, int, int, int]:
    """Returns the box as Pillow's (left, top, right, bottom), clipped to the photograph."""
    x1, y1, x2, y2 = car.box
    right, bottom = min(x2, width), min(y2, height)
    if x1 > right or y1 > bottom:
        raise ValueError(
            f"Expected the complete photograph, with the box {car.box} inside it; received "
            f"{car.path} of {width} x {height} pixels. If these are crops already, leave "
            "crop_to_boxes out."
        )
    return max(x1, 1) - 1, max(y1, 1) - 1, right, bottom
