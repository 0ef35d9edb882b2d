"""The built-in data set: letters of many scripts in many fonts, drawn without a download."""

import csv
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pa_keras.datasets import _glyph_alphabet as alphabet
from pa_keras.datasets._glyph_drawing import Distortion, draw
from pa_keras.datasets.cache import cache_folder, progress, write_once
from pa_keras.datasets.images import Dataset
from pa_keras.datasets.manifest import load_written

if TYPE_CHECKING:
    from PIL.Image import Image

# Part of the folder's name: increase it when the code draws other images for the same settings.
_VERSION = 1


def load_glyphs(
    seed: int = 0,
    image_size: int = 32,
    images_per_character: int = 40,
    num_characters: int | None = None,
) -> Dataset:
    """Draw letters with the fonts of matplotlib; each character is a class.

    The letters are Latin, Greek, Cyrillic, Armenian, Georgian and phonetic, in 12 to 16 fonts. Each
    image has its own distortion and colours. Of letters that look alike (Latin, Greek and Cyrillic
    A; o and O, since sizes vary) one is kept. A random half of the characters, the same for every
    seed, is for training, the other for testing. The images are written once, to `cache_folder()`.

    Args:
        seed: Seed of the drawing; the split does not depend on it. Default 0.
        image_size: Height and width in pixels, at least 16. Default 32.
        images_per_character: Number of images of each character, at least 2. Default 40.
        num_characters: Number of characters, at least 4. Default None: all of them, about 280.

    Returns:
        Training images and queries that search each other (no gallery).

    Raises:
        ValueError: A setting is out of its range.
        OSError: The images cannot be written.

    Example:
        >>> load_glyphs(num_characters=6, images_per_character=2).train
        Images(6 images, 3 classes)
    """
    for name, value, least in (
        ("seed", seed, 0),
        ("image_size", image_size, 16),
        ("images_per_character", images_per_character, 2),
        ("num_characters", num_characters, 4),
    ):
        if value is not None and value < least:
            raise ValueError(
                f"Expected {name} of at least {least}; received {value}. Give a larger one."
            )
    distortion = Distortion()
    settings = (
        *(_VERSION, seed, image_size, images_per_character, num_characters, distortion),
        *(alphabet.FONTS, alphabet.MIN_FONTS, alphabet.LOOK_ALIKE),
        # Matplotlib provides the fonts, and Pillow draws them.
        *(version("matplotlib"), version("pillow")),
    )

    def write(folder: Path) -> None:
        order = np.random.default_rng(0).permutation(alphabet.characters())
        characters = order[:num_characters].tolist()
        total = len(characters) * images_per_character
        drawings = _drawings(characters, images_per_character, image_size, distortion, seed)
        _write(folder, progress(drawings, total, "Drawing glyphs"), characters[::2])

    key = hashlib.sha256(repr(settings).encode()).hexdigest()[:10]
    return load_written(write_once(cache_folder() / f"glyphs-{key}", write), "glyphs")


def _drawings(
    characters: Sequence[str], count: int, image_size: int, distortion: Distortion, seed: int
) -> Iterator[tuple[str, int, "Image"]]:
    """Yields `count` images of each character as (character, number of the image, image)."""
    for character in characters:
        fonts = [font for font in alphabet.FONTS if character in alphabet.covered(font)]
        inks = [alphabet.mask(character, font, image_size) for font in fonts]
        for number in range(count):
            rng = np.random.default_rng([seed, ord(character), number])
            ink = inks[rng.integers(len(inks))]
            yield character, number, draw(ink, image_size, distortion, rng)


def _write(
    folder: Path, drawings: Iterable[tuple[str, int, "Image"]], training: Sequence[str]
) -> None:
    """Write a folder of images for each character, and the manifest with the split."""
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        manifest = csv.writer(file)
        manifest.writerow(("path", "class_id", "class_name", "split"))
        for character, number, image in drawings:
            path = Path(f"U+{ord(character):04X}") / f"{number:03d}.png"
            (folder / path).parent.mkdir(exist_ok=True)
            image.save(folder / path)
            split = "train" if character in training else "test"
            manifest.writerow((path.as_posix(), ord(character), character, split))
