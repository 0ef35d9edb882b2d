"""Finding image files of an evaluation that are byte for byte the same."""

import hashlib
import itertools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from pa_keras.datasets import Images
from pa_keras.pipelines.same_files import same_files

_CHUNK = 100  # files in a task of a thread


@dataclass(frozen=True)
class Duplicates:
    """Which files of an evaluation repeat another.

    Attributes:
        queries: bool (Q,), whether a query repeats an earlier one.
        gallery: bool (N,), whether a gallery image repeats a query or an earlier gallery image.
            None: there is no gallery.
        num_conflicts: Number of files that repeat one of another class.
    """

    queries: np.ndarray
    gallery: np.ndarray | None
    num_conflicts: int

    @property
    def number(self) -> int:
        """Number of files that repeat another."""
        return int(self.queries.sum() + (0 if self.gallery is None else self.gallery.sum()))

    def drop(self, queries: Images, gallery: Images | None) -> tuple[Images, Images | None]:
        """The images without those that repeat another.

        Raises:
            ValueError: Every gallery image repeats a query.
        """
        if self.gallery is not None and self.gallery.all():
            raise ValueError(
                f"Expected gallery images besides the queries; received {len(self.gallery)} that "
                "all repeat a query. Keep the duplicates, or give no gallery."
            )
        kept = queries.take(~self.queries)
        if gallery is None or self.gallery is None:
            return kept, gallery
        return kept, gallery.take(~self.gallery)

    def as_json(self, kept: str) -> dict[str, int | bool]:
        """The counts, ready for `json.dump`; `kept` is "keep" or "drop"."""
        conflicts = self.num_conflicts
        return {"files": self.number, "of_other_class": conflicts, "dropped": kept == "drop"}

    def as_lines(self, kept: str) -> list[str]:
        """One line to print, or none if no file repeats another."""
        if not self.number:
            return []
        done = "dropped" if kept == "drop" else "kept (--duplicates drop leaves them out)"
        conflicts = f", {self.num_conflicts} of them one of another class"
        return [
            f"{self.number} files repeat another byte for byte"
            f"{conflicts if self.num_conflicts else ''}: {done}"
        ]


def find_duplicates(queries: Images, gallery: Images | None = None) -> Duplicates:
    """Finds files with the bytes of an earlier one, in the queries and then in the gallery.

    A copy of the query in the gallery is a correct answer that needs no model. Images that look the
    same but were encoded again have different bytes, and are not found.

    Args:
        queries: Images to search for.
        gallery: Images to search. Default None: the queries.

    Raises:
        OSError: A file cannot be read.
    """
    paths = [*queries.paths, *(() if gallery is None else gallery.paths)]
    labels = queries.labels if gallery is None else np.append(queries.labels, gallery.labels)
    firsts = first_of_same_bytes(paths)
    repeats = firsts != np.arange(len(paths))
    size = len(queries)
    return Duplicates(
        queries=repeats[:size],
        gallery=None if gallery is None else repeats[size:],
        num_conflicts=int((labels != labels[firsts]).sum()),
    )


def first_of_same_bytes(paths: Sequence[str]) -> np.ndarray:
    """For each file, the index of the first file with the same bytes, int (number,).

    Only files that have the length of another are read, and several paths to one file only once.
    """
    of_file, sizes = same_files(paths)
    for index in np.flatnonzero(sizes < 0).tolist():
        os.stat(paths[index])  # raises the error
    files = np.unique(of_file)
    _, members, counts = np.unique(sizes[files], return_inverse=True, return_counts=True)
    alike = files[counts[members] > 1].tolist()
    chunks = [
        [paths[i] for i in alike[start : start + _CHUNK]] for start in range(0, len(alike), _CHUNK)
    ]
    firsts = np.arange(len(paths))
    seen: dict[bytes, int] = {}
    with ThreadPoolExecutor() as pool:
        found = itertools.chain.from_iterable(pool.map(_digests, chunks))
        bar = tqdm(found, "Comparing files", len(alike), unit="file", disable=None, delay=1)
        for index, digest in zip(alike, bar, strict=True):
            firsts[index] = seen.setdefault(digest, index)
    return firsts[of_file]


def _digests(paths: Sequence[str]) -> list[bytes]:
    digests = []
    for path in paths:
        with open(path, "rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").digest())
    return digests
