"""Which characters the fonts of matplotlib can draw, and which of them the eye can tell apart."""

import unicodedata
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont

# Every face for running text that covers more than one script.
FONTS = (
    *(f"DejaVuSans{style}.ttf" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSansMono{style}.ttf" for style in ("", "-Bold", "-Oblique", "-BoldOblique")),
    *(f"DejaVuSerif{style}.ttf" for style in ("", "-Bold", "-Italic", "-BoldItalic")),
    *(f"STIXGeneral{style}.ttf" for style in ("", "Bol", "Italic", "BolIta")),
)
# A character in fewer fonts than this would be a single design, not a class.
MIN_FONTS = 12
# Characters whose normalised pictures have a higher cosine than this, in any font, are one class.
LOOK_ALIKE = 0.96
_SIDE = 24


@cache
def characters() -> tuple[str, ...]:
    """The letters that look unlike each other, by code point; of look-alikes the first is kept."""
    letters = common_letters()
    alike = similarities(letters) > LOOK_ALIKE
    kept: list[int] = []
    for letter in range(len(letters)):
        if not alike[letter, kept].any():
            kept.append(letter)
    return tuple(letters[letter] for letter in kept)


def common_letters() -> list[str]:
    """Letters that `MIN_FONTS` fonts have, without accents: those would differ by a dot alone."""
    fonts_with: dict[str, int] = {}
    for font in FONTS:
        for character in covered(font):
            fonts_with[character] = fonts_with.get(character, 0) + 1
    return sorted(c for c, count in fonts_with.items() if count >= MIN_FONTS and _is_letter(c))


def similarities(letters: list[str]) -> np.ndarray:
    """Greatest cosine over the fonts of the pictures of two letters, (N, N) float32 in 0..1.

    The pictures are blurred, and of one size: the distortion of the images hides what a letter
    and its capital, such as o and O, differ in.
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
    """The character's ink, 0..255, cut to its bounding box; `size` is the font's, in pixels."""
    from PIL import Image, ImageDraw

    face = _face(font, size)
    left, top, right, bottom = map(int, face.getbbox(character))
    ink = Image.new("L", (max(right - left, 1), max(bottom - top, 1)))
    ImageDraw.Draw(ink).text((-left, -top), character, font=face, fill=255)
    return ink.crop(ink.getbbox())


@cache
def covered(font: str) -> frozenset[str]:
    """The characters that a font has a glyph for."""
    from matplotlib.ft2font import FT2Font

    return frozenset(map(chr, FT2Font(str(path(font))).get_charmap()))


def path(font: str) -> Path:
    """The file of a font."""
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / font


@cache
def _face(font: str, size: int) -> "FreeTypeFont":
    from PIL import ImageFont

    # The basic layout draws alike everywhere; Raqm is not in every build of Pillow.
    return ImageFont.truetype(str(path(font)), size, layout_engine=ImageFont.Layout.BASIC)


def _is_letter(character: str) -> bool:
    # Modifier letters (Lm) are small copies of others; a decomposition is an accent or a variant.
    plain = unicodedata.normalize("NFKD", character) == character
    return plain and unicodedata.category(character) in ("Lu", "Ll", "Lo")


def _normalised(ink: "Image") -> np.ndarray:
    """A picture of unit length: the ink fills a square but for a margin, aspect ratio kept."""
    from PIL import Image, ImageFilter

    scale = (_SIDE - 4) / max(ink.size)
    small = ink.resize([max(1, round(side * scale)) for side in ink.size], Image.Resampling.BOX)
    picture = Image.new("L", (_SIDE, _SIDE))
    left, top = ((_SIDE - side) // 2 for side in small.size)
    picture.paste(small, (left, top))
    pixels = np.asarray(picture.filter(ImageFilter.GaussianBlur(1)), np.float32).ravel()
    return pixels / np.linalg.norm(pixels)
