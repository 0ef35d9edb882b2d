"""A new version of an index: written aside, and swapped in by one rename."""

import dataclasses
import json
import shutil
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
    is_data,
    read_record,
)

_PACKAGES = ("pa_keras", "tensorflow", "numpy", "scann")


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
        "versions": files.versions(_PACKAGES),
        "files": {
            path.relative_to(data).as_posix(): {
                "bytes": path.stat().st_size,
                "sha256": files.sha256(path),
            }
            for path in sorted(data.rglob("*"))
            if path.is_file()
        },
    }
    _to_disk(data)
    partial = folder / f"partial-{RECORD}"
    partial.write_text(json.dumps(record, indent=2) + "\n")
    files.flush(partial)
    partial.replace(folder / RECORD)
    files.flush(folder)
    if before is not None:
        shutil.rmtree(before)
    return record


def _current(folder: Path) -> Path | None:
    """The data that index.json names; None without one that can be read."""
    try:
        return folder / read_record(folder)["data"]
    except (FileNotFoundError, ValueError):
        return None


def _new_data(folder: Path, before: Path | None) -> Path:
    """Makes the folder of a new version's data; what a crash left of another is deleted."""
    there = list(folder.iterdir())
    number = 1 + max((data_number(path.name) or 0 for path in there), default=0)
    for path in there:
        if path != before and is_data(path):
            shutil.rmtree(path)
    data = folder / f"data-{number}"
    data.mkdir()
    return data


def _to_disk(data: Path) -> None:
    for path in [*data.rglob("*"), data]:
        files.flush(path)
