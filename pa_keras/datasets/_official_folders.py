"""Finds the official layout of a benchmark, even from a folder just above or inside it."""

import os
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from pa_keras.datasets.images import absolute
from pa_keras.datasets.listing import is_system_folder


def find_set(title: str, data_dir: str, parts: Sequence[str], inside: str, where: str) -> Path:
    """Returns the folder that holds all `parts`, which may be near `data_dir`.

    Args:
        title: Name of the data set, for the messages.
        data_dir: That folder, one at most two levels above it, a folder inside it, or a file in it.
        parts: File and folder names; the first one identifies the data set.
        inside: Case-insensitive regular expression for the names of folders inside the data set.
        where: Where to get the data set, and its layout, for the messages; contains "{root}".

    Raises:
        FileNotFoundError: A part is missing.
    """
    root = start_of(data_dir)
    # Search near the folder itself first: a folder called "images" may contain the data set.
    starts = (root, outermost(root, inside))
    folders = chain.from_iterable(map(folders_near, starts))
    folder = next((folder for folder in folders if (folder / parts[0]).exists()), None)
    if folder is None:
        raise not_found(title, root, parts[0], where)
    absent = [part for part in parts if not (folder / part).exists()]
    if absent:
        raise FileNotFoundError(
            f"Expected {title} in {folder}; received no {' and no '.join(absent)} there."
            f"{where.format(root=folder)}"
        )
    return folder


def start_of(data_dir: str) -> Path:
    """Returns `data_dir` as an absolute path, or the folder of a file."""
    root = absolute(data_dir)
    return root.parent if root.is_file() else root


def outermost(root: Path, inside: str) -> Path:
    """Returns `root` or the nearest parent whose name is not one of a folder inside the set."""
    while re.fullmatch(inside, root.name, re.IGNORECASE):
        root = root.parent
    return root


def folders_near(root: Path, levels: int = 2) -> Iterator[Path]:
    """Yields `root` and the folders at most `levels` below it: level by level, sorted by name."""
    level = [root]
    for depth in range(levels + 1):
        yield from level
        # Levels are listed only when they are needed, since an image folder may be large.
        if depth < levels:
            level = sorted(below for folder in level for below in _subfolders(folder))


def not_found(title: str, root: Path, part: str, where: str) -> FileNotFoundError:
    """Returns an error for a set that lacks `part`; it suggests a nearby folder that has it."""
    above = next((folder for folder in root.parents if folder.is_dir()), root)
    folders = chain(folders_near(root, levels=4), folders_near(above))
    near = next((folder for folder in folders if (folder / part).exists()), None)
    hint = f" Did you mean --data-dir {near}?" if near else ""
    return FileNotFoundError(
        f"Expected {title} in {root}; received no {part} there.{hint}{where.format(root=root)}"
    )


def _subfolders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            folders = [entry for entry in entries if entry.is_dir()]
            return [Path(entry) for entry in folders if not is_system_folder(entry.name)]
    except OSError:  # missing or not readable
        return []
