"""Embedding in chunks that are saved, so that a killed command can continue."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pa_keras import files

# Image files -> embeddings float32 (n, D); calls the function with the number of each batch done.
Embed = Callable[[Sequence[str], Callable[[int], object]], np.ndarray]
# Image files -> ascending indices of those that can be decoded.
Check = Callable[[Sequence[str]], np.ndarray]

_PLAN = "plan.json"
_LOCK = "lock"
_FILE = re.compile(r"(partial-)?(plan\.json|good\.npy|embeddings-\d{9}\.npy)")


class Chunks:
    """Embeddings of image files, saved chunk by chunk in a folder beside the result.

    Saved chunks are reused only for the same model, settings and files, with the same paths, sizes
    and modification times.

    Args:
        folder: Folder of the chunks, which may also hold a lock. Chunks of other work are deleted.
        paths: N image files.
        key: Everything else that the embeddings depend on, such as the checksum of the model.
        size: Images in a chunk. Default 2048.

    Raises:
        FileNotFoundError: If a file does not exist.
        FileExistsError: If the folder holds anything but chunks. Nothing is deleted then.

    Example:
        >>> chunks = Chunks(folder, paths, key=checksum)  # doctest: +SKIP
        >>> good = chunks.checked(lambda paths: check_images(paths).good)  # doctest: +SKIP
        >>> embeddings = chunks.embedded(good, embed)  # doctest: +SKIP
    """

    def __init__(self, folder: Path, paths: Sequence[str], key: str, size: int = 2048) -> None:
        self._folder, self._paths, self._size = folder, list(paths), size
        plan = folder / _PLAN
        wanted = json.dumps({"files": _digest(self._paths), "key": key, "size": size})
        if folder.exists() and not are_chunks(folder):
            raise FileExistsError(
                f"Expected {folder} to hold unfinished embeddings of pa_keras, or not to exist; it "
                "holds something else, and nothing is deleted. Move it away."
            )
        if not plan.exists() or plan.read_text() != wanted:
            self.discard()
            folder.mkdir(parents=True, exist_ok=True)
            _save(lambda partial: Path(partial).write_text(wanted), plan)

    def checked(self, check: Check) -> np.ndarray:
        """Returns the indices of the images that can be decoded, and saves them."""
        path = self._folder / "good.npy"
        if not path.exists():
            good = check(self._paths)
            _save(partial(files.save_array, array=good), path)
        return np.load(path)

    def embedded(self, good: np.ndarray, embed: Embed, progress: bool = True) -> np.ndarray:
        """Returns embeddings float32 (M, D) of the images with these indices, in their order.

        Args:
            good: Indices int (M,) from `checked`.
            embed: Function that embeds the paths of at most one chunk. Its second argument is a
                function to call with the number of images of each batch.
            progress: Whether to show a progress bar. Default True.
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
                    _save(partial(files.save_array, array=part), path)
                parts.append(np.load(path))
        return np.concatenate(parts)

    def discard(self) -> None:
        """Deletes the chunks after the result is written, and the folder if it is then empty."""
        own = [path for path in self._folder.glob("*") if _FILE.fullmatch(path.name)]
        # The plan is deleted last: it identifies the other files.
        files.delete(sorted(own, key=lambda path: path.name == _PLAN), self._folder)

    def _chunk(self, start: int) -> Path:
        return self._folder / f"embeddings-{start:09d}.npy"


def are_chunks(folder: Path) -> bool:
    """Returns whether a folder holds only files of `Chunks`, judged by the contents of its plan."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    found = {path.name: path for path in folder.iterdir()}
    is_lock = _LOCK not in found or files.is_lock(found.pop(_LOCK))
    if not is_lock or not all(map(_FILE.fullmatch, found)):
        return False
    if _PLAN not in found:  # killed before it had one: then the files are empty
        return all(path.is_file() and not path.stat().st_size for path in found.values())
    try:
        plan = json.loads(found[_PLAN].read_text())
    except (OSError, ValueError):
        return False
    return isinstance(plan, dict) and plan.keys() == {"files", "key", "size"}


def _digest(paths: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        found = os.stat(path)
        digest.update(os.fsencode(f"{path}\0{found.st_size}\0{found.st_mtime_ns}\0"))
    return digest.hexdigest()


def _save(save: Callable[[str], object], path: Path) -> None:
    files.save_whole(save, path, then="start the same command again: it continues")
