"""The folder of an index: index.json names the data of the one version that counts."""

import dataclasses
import hashlib
import json
import logging
import os
import shutil
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from pa_keras.index.approximate import CandidateSearch, build_candidates
from pa_keras.index.items import Items, expect_searchable
from pa_keras.retrieval import search

logger = logging.getLogger(__name__)

FORMAT = 1
_RECORD = "index.json"
_ATTEMPTS = 5  # to open an index that a writer swaps meanwhile
_PACKAGES = ("pa_keras", "tensorflow", "numpy", "scann")


@dataclass(frozen=True)
class ModelRecord:
    """Which model the embeddings are of.

    Args:
        checksum: of `pa_keras.models.checksum`.
        crop_fraction: of the preprocessing, as of `evaluation_image`.
        run: folder of its run, or None.
        model: its `.keras` file, or None.
    """

    checksum: str
    crop_fraction: float
    run: str | None = None
    model: str | None = None


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

        By ScaNN where the index has it and k is at most 100, exactly otherwise; the similarities
        are exact in both cases.

        Args:
            queries: float32 (Q, D), rows of unit length.
            k: neighbours a query, 1 to the number of items.

        Returns:
            rows int32 (Q, k) of the items and similarities float32 (Q, k).

        Raises:
            ValueError: k out of range; queries of another size or not of unit length.
        """
        if self.candidates is not None and self.candidates.serves(k):
            return self.candidates.search(queries, self.items.embeddings, k)
        found = search(queries, self.items.embeddings, k, method="exact")
        return found.indices, found.similarities


def open_index(folder: str | Path) -> Index:
    """Opens an index for reading, beside any number of other readers and one writer.

    Args:
        folder: of the index.

    Raises:
        FileNotFoundError: there is no index, or none that is whole.
        ValueError: index.json or a data file is corrupt, by its size or its form.

    Example:
        >>> index = open_index("cars.index")  # doctest: +SKIP
        >>> rows, similarities = index.search(queries, k=4)  # doctest: +SKIP
    """
    folder = Path(folder)
    for _ in range(_ATTEMPTS):
        record = read_record(folder)
        try:
            return _opened(folder, record)
        except (OSError, ValueError):
            # A writer may have swapped in another version since, and deleted these files.
            if read_record(folder) == record:
                raise
    raise OSError(f"Expected {folder} to stand still while it is opened; it changed every time.")


def read_record(folder: Path) -> dict[str, Any]:
    """What index.json says; errors as of `open_index`."""
    path = folder / _RECORD
    if not path.is_file():
        begun = (folder / "unfinished").is_dir()
        advice = "Start its build again: it goes on." if begun else "Make one by search build."
        raise FileNotFoundError(
            f"Expected an index in {folder}; received {'an unfinished build' if begun else 'none'}"
            f". {advice}"
        )
    try:
        record = json.loads(path.read_text())
        if record["format"] != FORMAT:
            raise ValueError(f"its format is {record['format']}, not {FORMAT}")
        return {**record, "files": dict(record["files"]), "model": dict(record["model"])}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"Expected {path} as it was written; received another ({error!r}). Build the index "
            "anew."
        ) from error


def write_index(folder: str | Path, items: Items, model: ModelRecord) -> dict[str, Any]:
    """Writes a new version aside and swaps it in by the rename of index.json.

    A crash at any point leaves the version before it, whole. Call it under `writer_lock`.

    Args:
        folder: of the index, with or without one in it.
        items: what it is to hold.
        model: which model embedded them.

    Returns:
        What index.json says.

    Raises:
        ValueError: no items, embeddings that are not unit vectors, or an id that is there twice.
    """
    expect_searchable(items)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    before = _current(folder)
    data = _new_data(folder, before)
    np.save(data / "embeddings.npy", np.asarray(items.embeddings, np.float32))
    np.save(data / "labels.npy", np.asarray(items.labels, np.int32))
    texts = {name: list(getattr(items, name)) for name in ("ids", "paths", "class_names")}
    (data / "items.json").write_text(json.dumps(texts, ensure_ascii=False), encoding="utf-8")
    record = {
        "format": FORMAT,
        "data": data.name,
        "items": len(items),
        "embedding_size": items.embeddings.shape[1],
        "classes": len(np.unique(items.labels)),
        "search": build_candidates(items.embeddings, data / "scann"),
        "model": dataclasses.asdict(model),
        "versions": _versions(),
        "files": {
            path.relative_to(data).as_posix(): {
                "bytes": path.stat().st_size,
                "sha256": _sha256(path),
            }
            for path in sorted(data.rglob("*"))
            if path.is_file()
        },
    }
    _to_disk(data)
    partial = folder / f"partial-{_RECORD}"
    partial.write_text(json.dumps(record, indent=2) + "\n")
    _sync(partial)
    partial.replace(folder / _RECORD)
    _sync(folder)
    if before is not None:
        shutil.rmtree(before)
    return record


def verify_index(folder: str | Path) -> None:
    """Raises a ValueError unless every file of the index has the checksum it was written with."""
    folder = Path(folder)
    record = read_record(folder)
    data = folder / record["data"]
    _expect_sizes(data, record)
    kept = {name: file["sha256"] for name, file in record["files"].items()}
    changed = [name for name, checksum in kept.items() if _sha256(data / name) != checksum]
    if changed:
        raise ValueError(
            f"Expected the files of {data} as they were written; {', '.join(changed)} changed "
            "since. Build the index anew."
        )


def _current(folder: Path) -> Path | None:
    """The data that index.json names; None without one that can be read."""
    try:
        return folder / read_record(folder)["data"]
    except (FileNotFoundError, ValueError):
        return None


def _new_data(folder: Path, before: Path | None) -> Path:
    """Makes the folder of a new version's data; what a crash left of another is deleted."""
    there = set(folder.glob("data-*"))
    number = 1 + max((int(path.name.removeprefix("data-")) for path in there), default=0)
    for left_over in there - {before}:
        shutil.rmtree(left_over)
    data = folder / f"data-{number}"
    data.mkdir()
    return data


def _opened(folder: Path, record: dict[str, Any]) -> Index:
    data = folder / record["data"]
    _expect_sizes(data, record)
    texts = json.loads((data / "items.json").read_text(encoding="utf-8"))
    embeddings = np.load(data / "embeddings.npy", mmap_mode="r")
    items = Items(embeddings, **texts, labels=np.load(data / "labels.npy"))
    candidates = None
    if record["search"]:
        try:
            candidates = CandidateSearch(data / "scann", record["search"])
        except ImportError as error:  # the index may have come from another machine
            logger.warning("The index is searched exactly, because %s.", error)
    return Index(folder, record, items, candidates)


def _expect_sizes(data: Path, record: dict[str, Any]) -> None:
    for name, kept in record["files"].items():
        path = data / name
        size = path.stat().st_size if path.is_file() else None
        if size != kept["bytes"]:
            found = "no such file" if size is None else f"{size:,} bytes"
            raise ValueError(
                f"Expected {path} of {kept['bytes']:,} bytes; received {found}: the index is "
                "corrupt. Build it anew."
            )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _to_disk(data: Path) -> None:
    for path in [*data.rglob("*"), data]:
        _sync(path)


def _sync(path: Path) -> None:
    """Waits until a file, or a folder's list of names, is on the disk and not only in memory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found
