"""Writing embeddings and thumbnails as files for TensorBoard's projector."""

from pathlib import Path

import numpy as np
from PIL import Image
from tensorboard.plugins import projector

from pa_keras import files
from pa_keras.datasets import Images
from pa_keras.plots.thumbnails import thumbnail

# In pixels: browsers show no larger sprite, and smaller thumbnails show nothing.
SPRITE_SIZE = 8192
THUMBNAIL_SIZE = 48
MOST_IMAGES = (SPRITE_SIZE // THUMBNAIL_SIZE) ** 2


def write_projector(
    folder: Path, images: Images, vectors: np.ndarray, nearest_is_right: np.ndarray
) -> None:
    """Writes a folder for `tensorboard --logdir FOLDER`.

    It contains tensors.tsv, metadata.tsv (class, whether the nearest neighbour is right, path),
    sprite.png, a square of thumbnails row by row, and projector_config.pbtxt, which names them.

    Args:
        folder: Folder to write, which must not exist.
        images: N images, at most `MOST_IMAGES`.
        vectors: float (N, D), embeddings of the images.
        nearest_is_right: bool (N,), whether the nearest neighbour of each is of its class.

    Raises:
        ValueError: There are too many images for a sprite.
        FileExistsError: The folder exists already.

    Example:
        >>> write_projector(Path("projector"), images, vectors, right)  # doctest: +SKIP
    """
    expect_sprite(len(images))
    if folder.exists():
        raise FileExistsError(
            f"Expected a new folder for the projector; {folder} exists already, and nothing is "
            "overwritten. Give another."
        )
    files.save_folder(lambda aside: _write(aside, images, vectors, nearest_is_right), folder)


def _write(folder: Path, images: Images, vectors: np.ndarray, nearest_is_right: np.ndarray) -> None:
    np.savetxt(folder / "tensors.tsv", vectors, fmt="%.6g", delimiter="\t")
    lines = ["class\tnearest neighbour\tpath"]
    for path, label, right in zip(images.paths, images.labels, nearest_is_right, strict=True):
        name = " ".join(images.class_names[label].split())  # a tab would start another column
        lines.append(f"{name}\t{'right' if right else 'wrong'}\t{path}")
    (folder / "metadata.tsv").write_text("\n".join(lines) + "\n")
    _sprite(images).save(folder / "sprite.png")
    config = projector.ProjectorConfig()
    part = config.embeddings.add(
        tensor_name="embeddings", tensor_path="tensors.tsv", metadata_path="metadata.tsv"
    )
    part.sprite.image_path = "sprite.png"
    part.sprite.single_image_dim.extend([THUMBNAIL_SIZE, THUMBNAIL_SIZE])
    projector.visualize_embeddings(str(folder), config)


def expect_sprite(number: int) -> None:
    """Raises ValueError unless this number of thumbnails fits into a sprite."""
    if not 1 <= number <= MOST_IMAGES:
        raise ValueError(
            f"Expected 1 to {MOST_IMAGES:,} images for the projector, whose sprite of "
            f"{THUMBNAIL_SIZE}-pixel thumbnails may have {SPRITE_SIZE} x {SPRITE_SIZE} pixels at "
            f"most; received {number:,}. Take a sample, by --projector-images."
        )


def _sprite(images: Images) -> Image.Image:
    """The thumbnails in a square, row by row, as the projector expects them."""
    columns = int(np.ceil(np.sqrt(len(images))))
    sprite = Image.new("RGB", (columns * THUMBNAIL_SIZE,) * 2, "white")
    for place, path in enumerate(images.paths):
        image = thumbnail(path, THUMBNAIL_SIZE)
        row, column = divmod(place, columns)
        corner = (column * THUMBNAIL_SIZE, row * THUMBNAIL_SIZE)
        margins = ((THUMBNAIL_SIZE - side) // 2 for side in image.size)
        left, top = map(sum, zip(corner, margins, strict=True))
        sprite.paste(image, (left, top))
    return sprite
