"""An index opened for reading, whatever a writer does meanwhile."""

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
        folder: where it is.
        record: index.json.
        items: what it holds, the embeddings memory-mapped.
        candidates: the approximate search, None where the index has none.
    """

    folder: Path
    record: dict[str, Any]
    items: Items
    candidates: CandidateSearch | None

    def __len__(self) -> int:
        return len(self.items)

    @property
    def model(self) -> ModelRecord:
        """The model that queries are to be embedded by."""
        return ModelRecord(**self.record["model"])

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest items of each query, best first.

        By ScaNN where the index has it and so many neighbours were measured to be found, exactly
        otherwise; the similarities are exact in both cases.

        Args:
            queries: float32 (Q, D), rows of unit length.
            k: neighbours a query, 1 to the number of items.

        Returns:
            rows int32 (Q, k) of the items and similarities float32 (Q, k).

        Raises:
            ValueError: k out of range; queries of another size or not of unit length.
        """
        queries = unit_rows("queries", queries)
        check_sizes(queries, self.items.embeddings, k, exclude_self=False)
        if self.candidates is not None and self.candidates.serves(k):
            return self.candidates.search(queries, self.items.embeddings, k)
        found = search(queries, self.items.embeddings, k, method="exact")
        return found.indices, found.similarities


def open_index(folder: str | Path) -> Index:
    """Opens an index for reading, beside any number of other readers and one writer.

    Opening an index runs no code from it, whoever made it: only files of known names and formats
    are opened, and none that index.json does not list.

    Args:
        folder: of the index.

    Raises:
        FileNotFoundError: there is no index, or none that is whole.
        ValueError: index.json or a data file is corrupt, by its size or its form, or there is a
            file that index.json does not list. Nothing was opened then.

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
            f"Expected the files of {data} as they were written; received others ({error}). See "
            "which by search info --verify, and build the index again."
        ) from error
    candidates = None
    if record["search"]:
        try:
            candidates = CandidateSearch(data / "scann", record["search"])
        except ScannUnusableError as error:  # the index may have come from another machine
            logger.warning("The index is searched exactly, because %s.", error)
    return Index(folder, record, items, candidates)
