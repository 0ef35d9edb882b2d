"""What index.json says: which data count, and how they are known to be whole."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pa_keras import files

T = TypeVar("T")

FORMAT = 1
RECORD = "index.json"
_ATTEMPTS = 5  # to read an index that a writer swaps meanwhile
_NUMBERS = ("items", "classes", "embedding_size")
_DATA = re.compile(r"data-(\d+)")
_IN_DATA = {"embeddings.npy", "labels.npy", "items.json", "scann"}


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


def read_record(folder: Path) -> dict[str, Any]:
    """What index.json says; errors as of `open_index`."""
    path = folder / RECORD
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
        # A writer deletes this folder: it must be one of the index.
        if not _DATA.fullmatch(record["data"]):
            raise ValueError(f"its data are in {record['data']!r}")
        ModelRecord(**record["model"])
        for name in _NUMBERS:
            int(record[name])
        return {**record, "files": dict(record["files"]), "search": list(record["search"])}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"Expected {path} as it was written; received another ({error!r}). Build the index "
            "anew."
        ) from error


def data_number(name: str) -> int | None:
    """3 of "data-3", the folder of an index's third version; None of any other name."""
    found = _DATA.fullmatch(name)
    return int(found[1]) if found else None


def is_data(path: Path) -> bool:
    """Whether this holds a version of an index and nothing else, as far as it was written."""
    if data_number(path.name) is None or path.is_symlink() or not path.is_dir():
        return False
    names = {each.name for each in path.iterdir()}
    return {name for name in names if not name.startswith(".")} <= _IN_DATA  # .DS_Store, .nfs...


def verify_index(folder: str | Path) -> None:
    """Raises a ValueError unless every file of the index has the checksum it was written with."""
    of_one_version(Path(folder), _verify)


def of_one_version(folder: Path, read: Callable[[Path, dict[str, Any]], T]) -> T:
    """What `read` makes of the folder and its record; anew where a writer changes them meanwhile.

    Raises:
        OSError: another version was there at each of several attempts.
    """
    for _ in range(_ATTEMPTS):
        record = read_record(folder)
        try:
            return read(folder, record)
        except (OSError, ValueError):
            # A writer may have swapped in another version since, and deleted these files.
            if read_record(folder) == record:
                raise
    raise OSError(f"Expected {folder} to stand still while it is read; it changed every time.")


def _verify(folder: Path, record: dict[str, Any]) -> None:
    data = folder / record["data"]
    expect_sizes(data, record)
    kept = {name: file["sha256"] for name, file in record["files"].items()}
    changed = [name for name, checksum in kept.items() if files.sha256(data / name) != checksum]
    if changed:
        raise ValueError(
            f"Expected the files of {data} as they were written; {', '.join(changed)} changed "
            "since. Build the index anew."
        )


def expect_sizes(data: Path, record: dict[str, Any]) -> None:
    """Raises a ValueError unless every file of the data has the size it was written with."""
    for name, kept in record["files"].items():
        path = data / name
        size = path.stat().st_size if path.is_file() else None
        if size != kept["bytes"]:
            found = "no such file" if size is None else f"{size:,} bytes"
            raise ValueError(
                f"Expected {path} of {kept['bytes']:,} bytes; received {found}: the index is "
                "corrupt. Build it anew."
            )
