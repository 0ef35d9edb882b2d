"""Opening an index for reading, safely even while a writer replaces it."""

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np

from pa_keras.evaluation.image_embeddings import embed_images
from pa_keras.index.candidates import CandidateSearch
from pa_keras.index.items import Items
from pa_keras.index.model import model_of
from pa_keras.index.record import ModelRecord, expect_listed, of_one_version
from pa_keras.index.reranking import NUM_CANDIDATES, rerank_candidates
from pa_keras.pipelines.image_sources import AnyImage
from pa_keras.retrieval import KReciprocal, QueryExpansion, expand_queries, search
from pa_keras.retrieval.scann_import import ScannUnusableError
from pa_keras.retrieval.search import check_sizes, unit_rows
from pa_keras.runs.load import run_or_file

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Index:
    """An opened index.

    Args:
        folder: Folder of the index.
        record: Contents of index.json.
        items: Items, with memory-mapped embeddings.
        candidates: Approximate search; None if the index has only exact search.
        model_path: Run folder or file of the model, if it was moved. Default None: as recorded.
    """

    folder: Path
    record: dict[str, Any]
    items: Items
    candidates: CandidateSearch | None
    model_path: str | Path | None = None

    def __len__(self) -> int:
        return len(self.items)

    @property
    def model(self) -> ModelRecord:
        """Record of the model that must embed the queries."""
        return ModelRecord(**self.record["model"])

    def search(
        self, queries: np.ndarray, k: int, method: KReciprocal | QueryExpansion | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Finds the k nearest items of each query, best first.

        It uses ScaNN if the index has it and it was measured for this k, otherwise exact search.
        The similarities are exact in both cases.

        Args:
            queries: Embeddings float32 (Q, D) of unit length.
            k: Neighbours of each query, 1 to the number of items.
            method: `QueryExpansion`, which searches again with the mean of each query and its
                neighbours; or `KReciprocal`, which re-ranks the 100 nearest items (k1 or k, if
                that is more) by the neighbourhoods among all items. Then the order is not that of
                the similarities. Each query is independent of the others. Default None: the plain
                order.

        Returns:
            Rows int32 (Q, k) of the items, and their cosines with the query, float32 (Q, k).

        Raises:
            ValueError: If k is out of range, queries have another size or no unit length, or the
                index has too few items for the method.
        """
        queries = unit_rows("queries", queries)
        check_sizes(queries, self.items.embeddings, k, exclude_self=False)
        if method is None:
            return self._nearest(queries, k)
        embeddings = self.items.embeddings
        if isinstance(method, QueryExpansion):
            method.expect_at_most(len(self))
            nearest, _ = self._nearest(queries, method.neighbours)
            rows, _ = self._nearest(expand_queries(nearest, queries, embeddings, method), k)
        else:
            method.expect_fewer_than(len(self))
            number = min(len(self), max(k, method.k1, NUM_CANDIDATES))
            candidates, _ = self._nearest(queries, number)
            rows = rerank_candidates(queries, candidates, embeddings, self._nearest, method)[:, :k]
        return rows, np.einsum("qd,qkd->qk", queries, embeddings[rows])

    def _nearest(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        if self.candidates is not None and self.candidates.serves(k):
            return self.candidates.search(queries, self.items.embeddings, k)
        found = search(queries, self.items.embeddings, k, method="exact")
        return found.indices, found.similarities

    def search_images(
        self,
        images: Iterable[AnyImage],
        k: int,
        batch_size: int = 32,
        method: KReciprocal | QueryExpansion | None = None,
    ) -> tuple[list[list[str]], np.ndarray]:
        """Finds the k nearest items of each image, best first.

        The images are embedded by the model of the index, with its crop fraction. The first call
        loads and compiles the model, which takes seconds for a large one.

        Args:
            images: Q paths, bytes of files, PIL images or arrays, as in `embed_images`.
            k: Neighbours of each image, 1 to the number of items.
            batch_size: Number of images embedded at once. Default 32.
            method: Query expansion or re-ranking, as in `search`. Default None: neither.

        Returns:
            IDs of the items, Q lists of k, and their cosines, float32 (Q, k).

        Raises:
            ValueError: The model is not the one that the index was built with, an image cannot be
                decoded, or k is out of range.
            FileNotFoundError: The model is not there.

        Example:
            >>> ids, cosines = index.search_images(["new.jpg"], k=4)  # doctest: +SKIP
        """
        crop_fraction = self.model.crop_fraction
        queries = embed_images(
            self._embedding_model, images, crop_fraction=crop_fraction, batch_size=batch_size
        )
        rows, cosines = self.search(queries, k, method)
        return [[self.items.ids[row] for row in found] for found in rows], cosines

    @cached_property
    def _embedding_model(self) -> keras.Model:
        place = (None, None) if self.model_path is None else run_or_file(self.model_path)
        return model_of(self.model, *place)


def open_index(folder: str | Path, model: str | Path | None = None) -> Index:
    """Opens an index for reading, alongside any number of readers and one writer.

    Opening an index never runs code from it, whoever made it: only files with known names and
    formats that index.json lists are opened. `search_images` loads the model at its first call.

    Args:
        folder: Folder of the index.
        model: Run folder or `.keras` file of the model for `search_images`, if it was moved.
            Default None: where it was when the index was built.

    Raises:
        FileNotFoundError: If there is no index, or only an unfinished one.
        ValueError: If index.json or a data file is corrupt, by its size or format, or if there is
            a file that index.json does not list. No data file is opened then.

    Example:
        >>> index = open_index("cars.index")  # doctest: +SKIP
        >>> ids, cosines = index.search_images(["new.jpg"], k=4)  # doctest: +SKIP
        >>> rows, cosines = index.search(embeddings, k=4)  # doctest: +SKIP
    """
    return replace(of_one_version(Path(folder), _opened), model_path=model)


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
