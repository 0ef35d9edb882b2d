"""Opening an index for reading, safely even while a writer replaces it."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pa_keras.index.candidates import CandidateSearch
from pa_keras.index.items import Items
from pa_keras.index.record import ModelRecord, expect_listed, of_one_version
from pa_keras.retrieval import search
from pa_keras.retrieval.scann_index import ScannUnusableError
from pa_keras.retrieval.search import check_sizes, unit_rows

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Index:
    """An opened index.

    Args:
        folder: Folder of the index.
        record: Contents of index.json.
        items: Items, with memory-mapped embeddings.
        candidates: Approximate search; None if the index has only exact search.
    """

    folder: Path
    record: dict[str, Any]
    items: Items
    candidates: CandidateSearch | None

    def __len__(self) -> int:
        return len(self.items)

    @property
    def model(self) -> ModelRecord:
        """Record of the model that must embed the queries."""
        return ModelRecord(**self.record["model"])

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Finds the k nearest items of each query, best first.

        It uses ScaNN if the index has it and it was measured for this k, otherwise exact search.
        The similarities are exact in both cases.

        Args:
            queries: Embeddings float32 (Q, D) of unit length.
            k: Neighbours of each query, 1 to the number of items.

        Returns:
            Rows int32 (Q, k) of the items, and similarities float32 (Q, k).

        Raises:
            ValueError: If k is out of range, or queries have another size or no unit length.
        """
        queries = unit_rows("queries", queries)
        check_sizes(queries, self.items.embeddings, k, exclude_self=False)
        if self.candidates is not None and self.candidates.serves(k):
            return self.candidates.search(queries, self.items.embeddings, k)
        found = search(queries, self.items.embeddings, k, method="exact")
        return found.indices, found.similarities


def open_index(folder: str | Path) -> Index:
    """Opens an index for reading, alongside any number of readers and one writer.

    Opening an index never runs code from it, whoever made it: only files with known names and
    formats that index.json lists are opened.

    Args:
        folder: Folder of the index.

    Raises:
        FileNotFoundError: If there is no index, or only an unfinished one.
        ValueError: If index.json or a data file is corrupt, by its size or format, or if there is
            a file that index.json does not list. No data file is opened then.

    Example:
        >>> index = open_index("cars.index")  # doctest: +SKIP
        >>> rows, similarities = index.search(queries, k=4)  # doctest: +SKIP
    """
    return of_one_version(Path(folder), _opened)


def _opened(folder: Path, record: dict[str, Any]) -> Index:
    data = folder / record["data"]
    expect_listed(data, record)
    try:
        texts = json.loads((data / "items.json").read_text(encoding="utf-8"))
        embeddings = np.load(data / "embeddings.npy", mmap_mode="r", allow_pickle=False)
        labels = np.load(data / "labels.npy", allow_pickle=False)
        items = Items(embeddings, **texts, labels=labels)
    except (ValueError, TypeError, EOFError) as error:
        raise ValueError(
            f"Expected the files of {data} as they were written; they changed ({error}). List them "
            "with search info --verify, and build the index again."
        ) from error
    candidates = None
    if record["search"]:
        try:
            candidates = CandidateSearch(data / "scann", record["search"])
        except ScannUnusableError as error:  # the index may have come from another machine
            logger.warning("The index is searched exactly, because %s.", error)
    return Index(folder, record, items, candidates)
