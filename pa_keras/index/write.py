"""Writing a new version of an index beside the old one, one writer at a time."""

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from pa_keras import files
from pa_keras.index.candidates import build_candidates
from pa_keras.index.items import Items, expect_searchable
from pa_keras.index.record import (
    FORMAT,
    RECORD,
    ModelRecord,
    data_number,
    delete_data,
    is_data,
    make_data,
    read_record,
)

_PACKAGES = ("pa_keras", "tensorflow", "numpy", "scann")


@contextmanager
def writer_lock(folder: Path) -> Iterator[None]:
    """Holds the lock for writing an index. Readers need no lock.

    Args:
        folder: Folder of the index; it is created if necessary.

    Raises:
        BlockingIOError: If another process is writing to the index; the message names it.

    Example:
        >>> with writer_lock(Path("cars.index")):  # doctest: +SKIP
        ...     write_index(...)
    """
    folder.mkdir(parents=True, exist_ok=True)
    advice = "Wait until it has ended; queries need not wait."
    with files.locked(folder / "lock", f"writes to {folder}", advice):
        yield


def write_index(folder: str | Path, items: Items, model: ModelRecord) -> dict[str, Any]:
    """Writes a new version beside the old one, then switches to it by renaming index.json.

    A crash or a full disk at any point leaves the previous version complete. Call this function
    under `writer_lock`. It deletes only files of older versions that it wrote itself.

    Args:
        folder: Folder of the index, or of a new one.
        items: Items of the new version.
        model: Record of the model that embedded the items.

    Returns:
        The contents of index.json.

    Raises:
        ValueError: If there are no items, an embedding has no unit length, or an ID is repeated.
        OSError: If the disk is full. Nothing of the new version is left on it.
    """
    expect_searchable(items)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    before = _current(folder)
    data = _new_data(folder, before)
    partial = folder / f"partial-{RECORD}"
    try:
        with files.writing(folder):
            record = _write_data(data, items, model)
            partial.write_text(json.dumps(record, indent=2) + "\n")
            files.flush(partial)
    except BaseException:  # also at Ctrl-C: frees the space on a full disk
        delete_data(data)
        partial.unlink(missing_ok=True)
        raise
    partial.replace(folder / RECORD)
    files.flush(folder)
    if before is not None:
        delete_data(folder / before["data"], before["files"])
    return record


def _write_data(data: Path, items: Items, model: ModelRecord) -> dict[str, Any]:
    """Writes the data of a version to disk and returns their record."""
    files.save_array(data / "embeddings.npy", np.asarray(items.embeddings, np.float32))
    files.save_array(data / "labels.npy", np.asarray(items.labels, np.int32))
    texts = {name: list(getattr(items, name)) for name in ("ids", "paths", "class_names")}
    (data / "items.json").write_text(json.dumps(texts, ensure_ascii=False), encoding="utf-8")
    search = build_candidates(items.embeddings, data / "scann")
    paths = sorted(data.rglob("*"))
    for path in [*paths, data]:
        files.flush(path)
    return {
        "format": FORMAT,
        "data": data.name,
        "items": len(items),
        "embedding_size": items.embeddings.shape[1],
        "classes": len(np.unique(items.labels)),
        "search": search,
        "model": dataclasses.asdict(model),
        "versions": files.versions(_PACKAGES),
        "files": {
            path.relative_to(data).as_posix(): {
                "bytes": path.stat().st_size,
                "sha256": files.sha256(path),
            }
            for path in paths
            if path.is_file()
        },
    }


def _current(folder: Path) -> dict[str, Any] | None:
    """Returns the record of the current version; None if it cannot be read."""
    try:
        return read_record(folder)
    except (FileNotFoundError, ValueError):
        return None


def _new_data(folder: Path, before: dict[str, Any] | None) -> Path:
    """Makes the folder of a new version's data, and deletes what a crash left of others."""
    there = list(folder.iterdir())
    number = 1 + max((data_number(path.name) or 0 for path in there), default=0)
    for path in there:
        if is_data(path) and (before is None or path.name != before["data"]):
            delete_data(path)
    data = folder / f"data-{number}"
    make_data(data)
    return data
