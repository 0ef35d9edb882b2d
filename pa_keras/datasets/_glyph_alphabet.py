"""Selects the characters that matplotlib's fonts can draw and that do not look alike."""

import unicodedata
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont

# Every text font of matplotlib that covers more than one script.
FONTS = (
    *(f"DejaVuSans{style}.ttf" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{style}.ttf" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSerif{style}.ttf" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{style}.ttf" for style in ("", "Bol", "Italic", "BolIta")),
)
# With fewer fonts, the images of a character would show one design rather than a class.
MIN_FONTS = 12
# Two characters look alike if the cosine of their normalised pictures exceeds this in any font.
LOOK_ALIKE = 0.96
_SIDE = 24


@cache
def characters() -> tuple[str, ...]:
    """Returns the letters that do not look alike, by code point; the first look-alike is kept."""
    letters = common_letters()
    alike = similarities(letters) > LOOK_ALIKE
    kept: list[int] = []
    for letter in range(len(letters)):
        if not alike[letter, kept].any():
            kept.append(letter)
    return tuple(letters[letter] for letter in kept)


def common_letters() -> list[str]:
    """Returns the letters in `MIN_FONTS` fonts, without accents, which might differ by one dot."""
    fonts_with: dict[str, int] = {}
    for font in FONTS:
        for character in covered(font):
            fonts_with[character] = fonts_with.get(character, 0) + 1
    return sorted(c for c, count in fonts_with.items() if count >= MIN_FONTS and _is_letter(c))


def similarities(letters: list[str]) -> np.ndarray:
    """Returns the largest cosine, over all fonts, of each two letters: float32 (N, N) in 0..1.

    The pictures are blurred and scaled to one size, because the distortion of the images hides
    the difference between a letter and its capital, such as o and O.
    """
    greatest = np.zeros((len(letters), len(letters)), np.float32)
    for font in FONTS:
        pictures = np.zeros((len(letters), _SIDE * _SIDE), np.float32)
        for row, letter in enumerate(letters):
            if letter in covered(font):
                pictures[row] = _normalised(mask(letter, font, 2 * _SIDE))
        np.maximum(greatest, pictures @ pictures.T, out=greatest)
    return greatest


def mask(character: str, font: str, size: int) -> "Image":
    """Draws a character as ink, 0..255, cut to its bounding box; `size` is in pixels."""
    from PIL import Image, ImageDraw

    face = _face(font, size)
    left, top, right, bottom = map(int, face.getbbox(character))
    ink = Image.new("L", (max(right - left, 1), max(bottom - top, 1)))
    ImageDraw.Draw(ink).text((-left, -top), character, font=face, fill=255)
    return ink.crop(ink.getbbox())


@cache
def covered(font: str) -> frozenset[str]:
    """Returns the characters for which a font has a glyph."""
    from matplotlib.ft2font import FT2Font

    return frozenset(map(chr, FT2Font(str(path(font))).get_charmap()))


def path(font: str) -> Path:
    """Returns the path of a font file."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / font


@cache
def _face(font: str, size: int) -> "FreeTypeFont":
    from PIL import ImageFont

    # The basic layout draws the same everywhere; not every build of Pillow includes Raqm.
    return ImageFont.truetype(str(path(font)), size, layout_engine=ImageFont.Layout.BASIC)


def _is_letter(character: str) -> bool:
    # Modifier letters (Lm) are small copies; a decomposition means an accent or a variant.
    plain = unicodedata.normalize("NFKD", character) == character
    return plain and unicodedata.category(character) in ("Lu", "Ll", "Lo")


def _normalised(ink: "Image") -> np.ndarray:
    """Returns a unit-length picture: the ink fills a square except a margin, aspect ratio kept."""
    from PIL import Image, ImageFilter

    scale = (_SIDE - 4) / max(ink.size)
    small = ink.resize([max(1, round(side * scale)) for side in ink.size], Image.Resampling.BOX)
    picture = Image.new("L", (_SIDE, _SIDE))
    left, top = ((_SIDE - side) // 2 for side in small.size)
    picture.paste(small, (left, top))
    pixels = np.asarray(picture.filter(ImageFilter.GaussianBlur(1)), np.float32).ravel()
    return pixels / np.linalg.norm(pixels)
