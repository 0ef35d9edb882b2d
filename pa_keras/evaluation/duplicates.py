"""Image files that are byte for byte the same, among those that are searched."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pa_keras.datasets import Images


@dataclass(frozen=True)
class Duplicates:
    """Which files of an evaluation repeat another.

    Attributes:
        queries: bool (Q,), repeats a query before it.
        gallery: bool (N,), repeats a query, or a gallery image before it; None: no gallery.
        num_conflicts: files that repeat one of another class.
    """

    queries: np.ndarray
    gallery: np.ndarray | None
    num_conflicts: int

    @property
    def number(self) -> int:
        """Files that repeat another."""
        return int(self.queries.sum() + (0 if self.gallery is None else self.gallery.sum()))

    def drop(self, queries: Images, gallery: Images | None) -> tuple[Images, Images | None]:
        """The images without those that repeat another.

        Raises:
            ValueError: every gallery image repeats a query.
        """
        if self.gallery is not None and self.gallery.all():
            raise ValueError(
                f"Expected gallery images beside the queries; received {len(self.gallery)} that "
                "all repeat a query; keep the duplicates, or give no gallery."
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
        """One line for people, or none where nothing repeats."""
        if not self.number:
            return []
        done = "dropped" if kept == "drop" else "kept (--duplicates drop leaves them out)"
        conflicts = f", {self.num_conflicts} of them one of another class"
        return [
            f"{self.number} files repeat another byte for byte"
            f"{conflicts if self.num_conflicts else ''}: {done}"
        ]


def find_duplicates(queries: Images, gallery: Images | None = None) -> Duplicates:
    """Files with the bytes of another; the first of each stays, queries before the gallery.

    A copy of the query in the gallery is an answer that takes no model. Images that look alike but
    were stored anew differ in bytes, and are not found.

    Args:
        queries: images to search with.
        gallery: images to search in. Default None: the queries.

    Raises:
        OSError: a file that cannot be read.
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
    """Index of the first file with the same bytes as each, int (number,).

    Only files of one length are read, since others cannot be the same.
    """
    sizes = np.array([Path(path).stat().st_size for path in paths])
    _, members, counts = np.unique(sizes, return_inverse=True, return_counts=True)
    firsts = np.arange(len(paths))
    seen: dict[bytes, int] = {}
    for index in np.flatnonzero(counts[members] > 1).tolist():
        digest = hashlib.sha256(Path(paths[index]).read_bytes()).digest()
        firsts[index] = seen.setdefault(digest, index)
    return firsts
