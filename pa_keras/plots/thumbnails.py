"""Draws image files as small pictures with a border and a name below, in cells of a page."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from matplotlib.axes import Axes
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.figure import Figure, FigureBase
from PIL import Image

from pa_keras import files
from pa_keras.pipelines import decode_image

RIGHT, WRONG, QUERY = "green", "red", "black"

# Sizes in inches: of the square for an image, between two squares, and of the text above and below.
CELL = 1.5
_GAP = 0.08
ABOVE, BELOW = 0.24, 0.34
# Height of the title of a part, and width between two parts.
_HEADING, _ROOM = 0.5, 0.3

# Number of letters of a name that fit below a cell at the font size.
_NAME_WIDTH = 24
_FONT_SIZE = 7
_ELLIPSIS = " \N{HORIZONTAL ELLIPSIS}"


def expect_picture(path: str | Path) -> None:
    """Raises a ValueError unless Matplotlib can write pictures with the suffix of `path`."""
    known = FigureCanvasBase.get_supported_filetypes()
    ending = Path(path).suffix.removeprefix(".").lower()
    if ending not in known:
        raise ValueError(
            f"Expected a picture's name to end with one of .{', .'.join(sorted(known))}; received "
            f"{str(path)!r}. Name it .png, or .jpg, which is smaller."
        )


def save_picture(figure: FigureBase, path: str | Path, dpi: int = 120) -> None:
    """Writes a figure in the format of the suffix of `path`; never leaves a partial file."""
    files.save_whole(
        lambda partial: figure.savefig(partial, dpi=dpi), Path(path), files.START_AGAIN
    )


def thumbnail(path: str, size: int) -> Image.Image:
    """Decodes an image as the model saw it, and shrinks it if it exceeds `size` pixels."""
    # Pillow does not decode it, since it would, for example, turn 16-bit grey white.
    image = Image.fromarray(decode_image(tf.io.read_file(path)).numpy())
    image.thumbnail((size, size))
    return image


def size_of(
    rows: int, columns: int, above: float = ABOVE, below: float = BELOW
) -> tuple[float, float]:
    """Returns the width and height in inches of a page of cells, with `below` below each cell."""
    return columns * (CELL + _GAP) + _GAP, rows * (CELL + below) + above


def cells(
    page: FigureBase, rows: int, columns: int, above: float = ABOVE, below: float = BELOW
) -> np.ndarray:
    """Returns axes (rows, columns) at fixed places of a page of `size_of`, blank until `show`."""
    # A layout engine would take longer than the drawing.
    width, height = size_of(rows, columns, above, below)
    places = {
        "left": _GAP / width,
        "right": 1 - _GAP / width,
        "top": 1 - above / height,
        "bottom": below / height,
        "wspace": _GAP / CELL,
        "hspace": below / CELL,
    }
    axes = page.subplots(rows, columns, squeeze=False, gridspec_kw=places)
    for axis in axes.flat:
        axis.set_axis_off()
    return axes


def parts(
    titles: Sequence[str], counts: Sequence[int], columns: Sequence[int], below: float
) -> tuple[Figure, list[np.ndarray]]:
    """Returns a figure with parts side by side, and the cells of each part, (rows, columns).

    Args:
        titles: Title of each part; a part without rows says that there are none.
        counts: Number of rows that each part needs; the figure has room for the largest.
        columns: Number of columns of each part.
        below: Height in inches below a cell, including the text above the next cell.
    """
    rows = max(1, *counts)
    widths = [size_of(rows, number)[0] for number in columns]
    height = size_of(rows, 1, _HEADING, below)[1]
    figure = Figure(figsize=(sum(widths) + _ROOM * (len(widths) - 1), height))
    # Empty columns of a fixed width keep the parts apart.
    ratios = [width for each in widths for width in (each, _ROOM)][:-1]
    pages = figure.subfigures(1, len(ratios), wspace=0, width_ratios=ratios)[::2]
    for page, title, count in zip(pages, titles, counts, strict=True):
        text = title if count else f"{title}: none"
        page.suptitle(text, fontsize=10, y=1 - 0.08 / height, va="top")
    return figure, [
        cells(page, rows, number, _HEADING, below)
        for page, number in zip(pages, columns, strict=True)
    ]


def show(axis: Axes, path: str, color: str, name: str) -> None:
    """Draws an image file with a border and a class name below."""
    axis.imshow(thumbnail(path, 256))
    frame(axis, color, name)


def frame(axis: Axes, color: str, name: str) -> None:
    """Draws the border of a cell and a name below."""
    axis.set_axis_on()
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set(color=color, linewidth=2.5)
    axis.set_xlabel(fitted(name), fontsize=_FONT_SIZE, labelpad=3, parse_math=False)


def head(row: np.ndarray, titles: Sequence[str]) -> None:
    """Writes a short title above each image of a row."""
    for axis, title in zip(row, titles, strict=True):
        axis.set_title(title, fontsize=_FONT_SIZE, pad=3)


def fitted(name: str) -> str:
    """Wraps a name to at most two lines, and shortens it if it is longer."""
    return "\n".join(textwrap.wrap(name, _NAME_WIDTH, max_lines=2, placeholder=_ELLIPSIS))
