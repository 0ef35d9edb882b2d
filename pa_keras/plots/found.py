"""A picture of what a search found for some image files, whose classes are not known."""

from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from pa_keras.pipelines import decode_image


def found(
    queries: Sequence[str],
    paths: Sequence[Sequence[str]],
    captions: Sequence[Sequence[str]],
    path: Path,
) -> None:
    """Draws each query, leftmost in a black border, and beside it what was found, best first.

    Args:
        queries: Q image files.
        paths: Q rows of k image files; one that is not there is drawn as an empty frame.
        captions: Q rows of k texts, drawn below.
        path: of the picture, by whose ending the format is chosen.
    """
    columns = 1 + max(len(row) for row in paths)
    figure = Figure(figsize=(1.5 * columns, 1.75 * len(queries)), layout="constrained")
    rows = figure.subplots(len(queries), columns, squeeze=False)
    for axes, query, files, texts in zip(rows, queries, paths, captions, strict=True):
        for axis, file, text in zip(axes, [query, *files], [Path(query).name, *texts], strict=True):
            _show(axis, file, text)
        for spine in axes[0].spines.values():
            spine.set(color="black", linewidth=2.5)
    figure.savefig(path, dpi=120)


def _show(axis: Axes, file: str, text: str) -> None:
    axis.set(xticks=[], yticks=[])
    axis.set_xlabel(text, fontsize=7, parse_math=False)
    for spine in axis.spines.values():
        spine.set(color="lightgrey")
    if Path(file).is_file():
        # As the model saw it: Pillow, for one, would turn 16-bit grey white.
        image = Image.fromarray(decode_image(tf.io.read_file(file)).numpy())
        image.thumbnail((256, 256))
        axis.imshow(image)
