"""Finds the paths that lead to one file, such as hard links."""

import itertools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from tqdm import tqdm

_CHUNK = 1000  # files in a task of a thread


def same_files(paths: Sequence[str], progress: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Returns the index of the first path to the same file, and the size of the file.

    Two paths lead to the same file if they have the same device, inode, size and time of
    modification: a file system without inodes may invent their numbers.

    Args:
        paths: N files; they may repeat.
        progress: Whether to show a progress bar on a terminal.

    Returns:
        The indices, int64 (N,), and the sizes in bytes, int64 (N,). A file that is missing is the
        same as no other, and has a size of -1.

    Example:
        >>> same_files([__file__, "missing", __file__])[0]  # doctest: +SKIP
        array([0, 1, 0])
    """
    chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
    firsts = np.arange(len(paths))
    sizes = np.full(len(paths), -1, np.int64)
    seen: dict[tuple[int, ...], int] = {}
    hidden = None if progress else True  # None: off a terminal
    with ThreadPoolExecutor() as pool:  # a network disk answers slowly, but many questions at once
        found = itertools.chain.from_iterable(pool.map(_stats, chunks))
        bar = tqdm(found, "Looking up files", len(paths), unit="file", disable=hidden, delay=1)
        for index, stat in enumerate(bar):
            if stat is not None:
                sizes[index] = stat[2]
            if stat is not None and stat[1]:  # a file system without inodes may say 0
                firsts[index] = seen.setdefault(stat, index)
    return firsts, sizes


def _stats(paths: Sequence[str]) -> list[tuple[int, ...] | None]:
    found: list[tuple[int, ...] | None] = []
    for path in paths:
        try:
            stat = os.stat(path)
        except (OSError, ValueError):  # a ValueError for a null byte
            found.append(None)
        else:
            found.append((stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns))
    return found
