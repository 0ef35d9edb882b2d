"""Embeds a folder of images with an exported SavedModel; needs only TensorFlow and NumPy.

    python embed_folder.py SAVED_MODEL FOLDER OUT.npz [--batch-size 32]

The .npz holds `embeddings`, float32 (N, D) of unit length, and `paths` in the folder, (N,).
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"}


def embed(saved_model: Path, files: list[Path], batch_size: int = 32) -> np.ndarray:
    """Returns embeddings float32 (N, D) of image files, in their order.

    Args:
        saved_model: Folder of one version, with `saved_model.pb`.
        files: N image files, 1 or more.
        batch_size: Images embedded at once. Default 32.

    Raises:
        ValueError: If TensorFlow cannot read a file as an image; the message names it.
    """
    model = tf.saved_model.load(str(saved_model))
    signature = model.signatures["serving_default"]

    def embed_batch(batch: list[Path]) -> np.ndarray:
        contents = tf.constant([file.read_bytes() for file in batch])
        return signature(image_bytes=contents)["embedding"].numpy()

    embeddings = []
    for start in range(0, len(files), batch_size):
        batch = files[start : start + batch_size]
        try:
            embeddings.append(embed_batch(batch))
        except tf.errors.InvalidArgumentError:
            _name_bad_files(embed_batch, batch)
            raise
    return np.concatenate(embeddings)


def _name_bad_files(embed_batch, batch: list[Path]) -> None:
    """Raises a ValueError that names the bad files of a failed batch."""
    bad = []
    for file in batch:
        try:
            embed_batch([file])
        except tf.errors.InvalidArgumentError:
            bad.append(str(file))
    if bad:
        raise ValueError(f"Expected images; cannot read {', '.join(bad)}. Remove them.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("saved_model", type=Path, help="folder with saved_model.pb")
    parser.add_argument("folder", type=Path, help="folder of images, including subfolders")
    parser.add_argument("out", type=Path, help=".npz file to write")
    parser.add_argument("--batch-size", type=int, default=32)
    options = parser.parse_args()
    if options.out.suffix != ".npz":
        sys.exit(f"error: expected OUT to end with .npz; received {options.out}")
    if options.batch_size < 1:
        sys.exit(f"error: expected --batch-size of 1 or more; received {options.batch_size}")
    files = sorted(each for each in options.folder.rglob("*") if each.suffix.lower() in SUFFIXES)
    if not files:
        sys.exit(f"error: no images in {options.folder}")
    try:
        embeddings = embed(options.saved_model, files, options.batch_size)
        paths = np.array([file.relative_to(options.folder).as_posix() for file in files])
        # Renamed when complete, so that a full disk leaves no incomplete file.
        partial = options.out.with_name(f"partial-{options.out.name}")
        np.savez(partial, embeddings=embeddings, paths=paths)
        partial.replace(options.out)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    sys.stdout.write(f"{options.out}: {len(files)} embeddings of {embeddings.shape[1]} numbers\n")


if __name__ == "__main__":
    main()
