"""Embedding in chunks that are kept: a build that was killed goes on where it was."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pa_keras import files

# Image files -> embeddings float32 (n, D); it calls the function with the number of every few done.
Embed = Callable[[Sequence[str], Callable[[int], object]], np.ndarray]
# Image files -> the positions of those that can be decoded, ascending.
Check = Callable[[Sequence[str]], np.ndarray]


class Chunks:
    """Embeddings of image files, chunk by chunk, in a folder beside the index.

    What was embedded counts again only for the same model, settings and files: their paths, sizes
    and times of change.

    Args:
        folder: of the chunks. With those of another work in it, it is emptied.
        paths: N image files.
        key: what else the embeddings depend on, such as the model's checksum.
        size: images in a chunk. Default 2048.

    Raises:
        FileNotFoundError: a file is not there.

    Example:
        >>> chunks = Chunks(folder, paths, key=checksum)  # doctest: +SKIP
        >>> good = chunks.checked(lambda paths: check_images(paths).good)  # doctest: +SKIP
        >>> embeddings = chunks.embedded(good, embed)  # doctest: +SKIP
    """

    def __init__(self, folder: Path, paths: Sequence[str], key: str, size: int = 2048) -> None:
        self._folder, self._paths, self._size = folder, list(paths), size
        plan = folder / "plan.json"
        wanted = json.dumps({"files": _digest(self._paths), "key": key, "size": size})
        if not plan.exists() or plan.read_text() != wanted:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            _save(lambda partial: Path(partial).write_text(wanted), plan)

    def checked(self, check: Check) -> np.ndarray:
        """The positions of the images that can be decoded; what was checked once is remembered."""
        path = self._folder / "good.npy"
        if not path.exists():
            good = check(self._paths)
            _save(lambda partial: np.save(partial, good), path)
        return np.load(path)

    def embedded(self, good: np.ndarray, embed: Embed, progress: bool = True) -> np.ndarray:
        """Embeddings float32 (M, D) of the images at the positions, of `checked`, in their order.

        Args:
            good: int (M,).
            embed: called with the paths of at most a chunk, and a function to call with the number
                of images after every few.
            progress: whether to show a bar, with images a second. Default True.
        """
        starts = range(0, len(good), self._size)
        parts: list[np.ndarray] = []
        done = min(len(good), self._size * sum(self._chunk(start).exists() for start in starts))
        with tqdm(
            total=len(good), initial=done, desc="embedding", unit=" images", disable=not progress
        ) as bar:
            for start in starts:
                path = self._chunk(start)
                if not path.exists():
                    chunk = [self._paths[i] for i in good[start : start + self._size]]
                    part = embed(chunk, bar.update)
                    _save(lambda partial, part=part: np.save(partial, part), path)
                parts.append(np.load(path))
        return np.concatenate(parts)

    def discard(self) -> None:
        """Removes the chunks, once the index holds what is in them."""
        shutil.rmtree(self._folder)

    def _chunk(self, start: int) -> Path:
        return self._folder / f"embeddings-{start:09d}.npy"


def _digest(paths: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        found = os.stat(path)
        digest.update(f"{path}\0{found.st_size}\0{found.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def _save(save: Callable[[str], object], path: Path) -> None:
    files.save_whole(save, path, then="start again: it goes on")
