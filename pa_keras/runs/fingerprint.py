"""The fingerprint of a run's images, to find out whether they changed since it began."""

import csv
import os
from collections.abc import Mapping
from pathlib import Path

from tqdm import tqdm

from pa_keras.datasets import Images
from pa_keras.files import save_whole
from pa_keras.pipelines.image_scan import checksum

_NAMED = 3  # number of files named in a message


def fingerprint(
    parts: Mapping[str, Images | None], checksums: Mapping[str, str] | None = None
) -> dict[tuple[str, str], tuple[str, str]]:
    """The purpose and class of each image file, and a checksum of its bytes.

    It leaves out the time of modification, which a copy changes, and the folder, which may move.

    Args:
        parts: Images by their purpose, such as "train". None: there are none.
        checksums: The checksum of each file by its path, as far as `check_images` found it. Other
            files are read. Default None: all of them are.

    Returns:
        Mapping from (part, path below the common folder) to (class, checksum), in the order of the
        images.

    Raises:
        OSError: A file cannot be read.

    Example:
        >>> fingerprint({"train": dataset.train})[("train", "a/1.jpg")]  # doctest: +SKIP
        ('a', '5f1c09e85ab4')
    """
    given = {part: images for part, images in parts.items() if images is not None}
    folders = {os.path.dirname(path) for images in given.values() for path in images.paths}
    root = os.path.commonpath(folders) if folders else ""
    below = {folder: os.path.relpath(folder or ".", root or ".") for folder in folders}
    known, found = checksums or {}, {}
    for part, images in given.items():
        bar = tqdm(images.paths, f"Fingerprint of {part}", unit="image", disable=None, delay=1)
        for path, label in zip(bar, images.labels.tolist(), strict=True):
            name = images.class_names[label]
            folder, file = os.path.split(path)
            key = part, os.path.normpath(f"{below[folder]}/{file}")
            found[key] = name, known.get(path) or checksum(Path(path).read_bytes())
    return found


def write_fingerprint(path: Path, found: Mapping[tuple[str, str], tuple[str, str]]) -> None:
    """Writes a fingerprint as CSV."""

    def write(partial: str) -> None:
        with Path(partial).open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("part", "path", "class", "checksum"))
            bar = tqdm(found.items(), f"Writing {path.name}", unit="image", disable=None, delay=1)
            rows.writerows((*key, *value) for key, value in bar)

    save_whole(write, path)


def read_fingerprint(path: Path) -> dict[tuple[str, str], tuple[str, str]]:
    """Reads a fingerprint that `write_fingerprint` wrote."""
    with path.open(newline="") as file:
        return {(row[0], row[1]): (row[2], row[3]) for row in list(csv.reader(file))[1:]}


def expect_same(path: Path, found: Mapping[tuple[str, str], tuple[str, str]]) -> None:
    """Compares a fingerprint with the one that was written when the run began.

    Args:
        path: File of `write_fingerprint`.
        found: The fingerprint of the images as they are now.

    Raises:
        ValueError: Images were added or removed, or have other bytes or another class.
    """
    before = read_fingerprint(path)
    both = [key for key in before if key in found]
    changes = {
        "added": [key for key in found if key not in before],
        "removed": [key for key in before if key not in found],
        "with other contents": [key for key in both if before[key][1] != found[key][1]],
        "of another class": [key for key in both if before[key][0] != found[key][0]],
    }
    if any(changes.values()) or list(before) != list(found):
        said = [_said(what, keys) for what, keys in changes.items() if keys]
        raise ValueError(
            "Expected the images that the run began with; received "
            f"{'; '.join(said) or 'them in another order'}. Put them back as they were, or start a "
            "new run. To continue with the images as they are now, which changes the result of the "
            f"run, delete {path}."
        )


def _said(what: str, keys: list[tuple[str, str]]) -> str:
    names = ", ".join(name for _, name in keys[:_NAMED]) + ", ..." * (len(keys) > _NAMED)
    return f"{len(keys)} {what} ({names})"
