"""A new version of an index: written aside, and swapped in by one rename."""

import dataclasses
import json
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


def write_index(folder: str | Path, items: Items, model: ModelRecord) -> dict[str, Any]:
    """Writes a new version aside and swaps it in by the rename of index.json.

    A crash or a full disk at any point leaves the version before it, complete. Call it under
    `writer_lock`. Of older versions only what this function wrote is deleted.

    Args:
        folder: of the index, with or without one in it.
        items: what it is to hold.
        model: which model embedded them.

    Returns:
        What index.json says.

    Raises:
        ValueError: no items, embeddings that are not unit vectors, or an id that is there twice.
        OSError: the disk is full; nothing of the new version is left on it.
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
    except BaseException:  # Ctrl-C too: a full disk needs the space
        delete_data(data)
        partial.unlink(missing_ok=True)
        raise
    partial.replace(folder / RECORD)
    files.flush(folder)
    if before is not None:
        delete_data(folder / before["data"], before["files"])
    return record


def _write_data(data: Path, items: Items, model: ModelRecord) -> dict[str, Any]:
    """Writes a version's data to the disk, and returns the record of them."""
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
    """The record of the version that counts; None without one that can be read."""
    try:
        return read_record(folder)
    except (FileNotFoundError, ValueError):
        return None


def _new_data(folder: Path, before: dict[str, Any] | None) -> Path:
    """Makes the folder of a new version's data; what a crash left of another is deleted."""
    there = list(folder.iterdir())
    number = 1 + max((data_number(path.name) or 0 for path in there), default=0)
    for path in there:
        if is_data(path) and (before is None or path.name != before["data"]):
            delete_data(path)
    data = folder / f"data-{number}"
    make_data(data)
    return data
