"""A page of the worst suspects of a data set: labels, near-duplicates and similar classes."""

from pathlib import Path

from pa_keras.datasets import Images
from pa_keras.plots import thumbnails
from pa_keras.plots.neighbours import draw_row
from pa_keras.plots.thumbnails import QUERY
from pa_keras.retrieval import Suspects
from pa_keras.retrieval.suspects import KINDS

# Height in inches below a cell, including the text above the next cell.
_BELOW = 0.5


def suspects(found: Suspects, images: Images, path: Path, rows: int = 6, columns: int = 4) -> None:
    """Draws the worst suspects of each kind, each image with its label.

    On the left are doubted labels, each image beside its nearest neighbours, which have a red
    border if their label is another; then near-duplicates with two labels, and pairs of classes
    that look like one, with their two most similar images.

    Args:
        found: The suspects of the images.
        images: N images, in the order of the embeddings.
        path: Path of the picture; its suffix selects the format.
        rows: Largest number of suspects of each kind. Default 6.
        columns: Largest number of neighbours to draw beside a doubted label. Default 4.
    """
    columns = min(columns, found.indices.shape[1])
    kinds = [found.of_kind(kind)[:rows] for kind in KINDS]
    titles = ("Doubted labels", "Near-duplicates with two labels", "Classes that look like one")
    figure, (labels, *pairs) = thumbnails.parts(
        titles, [len(kind) for kind in kinds], (columns + 1, 2, 2), _BELOW
    )
    for row, suspect in zip(labels, kinds[0], strict=False):
        neighbours = found.indices[suspect.image, :columns].tolist()
        draw_row(row, images, suspect.image, images, neighbours)
        thumbnails.head(row, [f"score {suspect.score:.2f}", *map(str, range(1, columns + 1))])
    for part, kind in zip(pairs, kinds[1:], strict=True):
        for row, suspect in zip(part, kind, strict=False):
            for axis, index in zip(row, (suspect.image, suspect.other), strict=True):
                name = images.class_names[images.labels[index]]
                thumbnails.show(axis, images.paths[index], QUERY, name)
            thumbnails.head(row, [f"score {suspect.score:.2f}", ""])
    thumbnails.save_picture(figure, path)
