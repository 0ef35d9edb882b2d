"""Finding the official layout of a benchmark, also a folder too high or too low."""

import os
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from pa_keras.datasets.images import absolute
from pa_keras.datasets.listing import is_system_folder


def find_set(title: str, data_dir: str, parts: Sequence[str], inside: str, where: str) -> Path:
    """The folder that holds all `parts`, also where `data_dir` is a little too high or too low.

    Args:
        title: of the set, for the errors.
        data_dir: that folder, one at most two levels above, one of those inside it, or a file.
        parts: file and folder names, the first of which tells the set from others.
        inside: regular expression of the names of folders inside the set, in any case.
        where: text for the errors, with "{root}": where to get the set, and its layout.

    Raises:
        FileNotFoundError: a part is not there.
    """
    root = start_of(data_dir)
    # First near the folder itself: one called "images" may hold the set, as well as be inside it.
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
    """`data_dir` as an absolute path; of a file, the folder that it is in."""
    root = absolute(data_dir)
    return root.parent if root.is_file() else root


def outermost(root: Path, inside: str) -> Path:
    """`root`, or the nearest folder above it that is not named like one inside the set."""
    while re.fullmatch(inside, root.name, re.IGNORECASE):
        root = root.parent
    return root


def folders_near(root: Path, levels: int = 2) -> Iterator[Path]:
    """`root` and the folders at most `levels` below it, nearest first, each level by name."""
    level = [root]
    for depth in range(levels + 1):
        yield from level
        # A folder of many images is not even listed, where the set is found before.
        if depth < levels:
            level = sorted(below for folder in level for below in _subfolders(folder))


def not_found(title: str, root: Path, part: str, where: str) -> FileNotFoundError:
    """An error for a set that lacks `part`; it suggests a folder near by that has it."""
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
    except OSError:  # not there, or not to be read
        return []
