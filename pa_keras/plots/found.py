"""A picture of what a search found for some image files, whose classes are not known."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from pa_keras.plots import thumbnails


def found(
    queries: Sequence[str],
    paths: Sequence[Sequence[str]],
    captions: Sequence[Sequence[str]],
    path: Path,
) -> None:
    """Draws each query, leftmost in a black border, and beside it what was found, best first.

    Args:
        queries: Q image files.
        paths: Q rows of k image files; one that is not there is an empty frame.
        captions: Q rows of k texts, drawn below.
        path: of the picture, by whose ending the format is chosen.
    """
    columns = 1 + max(len(row) for row in paths)
    page = Figure(figsize=thumbnails.size_of(len(queries), columns))
    rows = thumbnails.cells(page, len(queries), columns)
    for axes, query, files, texts in zip(rows, queries, paths, captions, strict=True):
        thumbnails.show(axes[0], query, thumbnails.QUERY, Path(query).name)
        for axis, file, text in zip(axes[1:], files, texts, strict=True):
            if Path(file).is_file():
                thumbnails.show(axis, file, "lightgrey", text)
            else:
                thumbnails.frame(axis, "lightgrey", text)
    thumbnails.save_picture(page, path)
