"""The record index.json: the current data of an index, and their checksums."""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pa_keras import files

T = TypeVar("T")

FORMAT = 1
RECORD = "index.json"
_ATTEMPTS = 5  # to read an index that a writer replaces meanwhile
_NUMBERS = ("items", "classes", "embedding_size")
_DATA = re.compile(r"data-(\d+)")
# The files that an index may contain. Reading them runs no code. ScaNN would unpickle a
# scann_docids.pkl, so it is not allowed, even if listed: a record can be forged like any file.
_FILE = re.compile(
    r"made_by\.txt|embeddings\.npy|labels\.npy|items\.json|scann/\w+\.(npy|pb|pbtxt)"
)
_SCANN = "scann/"
_MADE_BY = "made_by.txt"
_SIGNATURE = (
    "pa_keras.search made this folder. It deletes the folder when a newer version of the index is "
    "complete, so do not keep anything else here.\n"
)


@dataclass(frozen=True)
class ModelRecord:
    """The model that made the embeddings.

    Args:
        checksum: Result of `pa_keras.models.checksum`.
        crop_fraction: Crop fraction of the preprocessing, as in `evaluation_image`.
        run: Run folder of the model, or None.
        model: `.keras` file of the model, or None.
    """

    checksum: str
    crop_fraction: float
    run: str | None = None
    model: str | None = None


def is_record(path: Path) -> bool:
    """Returns whether a file is the record of an index, in any version of the format."""
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and {"format", "data", "files", "model"} <= record.keys()


def read_record(folder: Path) -> dict[str, Any]:
    """Reads index.json. Errors are as in `open_index`."""
    path = folder / RECORD
    if not path.is_file():
        begun = (folder / "unfinished").is_dir()
        advice = "Start the build again to continue it." if begun else "Make one with search build."
        raise FileNotFoundError(
            f"Expected an index in {folder}; received {'an unfinished build' if begun else 'none'}"
            f". {advice}"
        )
    try:
        record = json.loads(path.read_text())
        if record["format"] != FORMAT:
            raise ValueError(f"its format is {record['format']}, not {FORMAT}")
        # A writer deletes this folder, so it must belong to the index.
        if not _DATA.fullmatch(record["data"]):
            raise ValueError(f"its data are in {record['data']!r}")
        ModelRecord(**record["model"])
        for name in _NUMBERS:
            int(record[name])
        for name, file in record["files"].items():
            if not _FILE.fullmatch(name):
                raise ValueError(f"it lists {name!r}, which no index has")
            int(file["bytes"]), str(file["sha256"])
        return {**record, "files": dict(record["files"]), "search": list(record["search"])}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"Expected {path} as it was written; it changed ({error!r}). Build the index again."
        ) from error


def data_number(name: str) -> int | None:
    """Returns 3 for "data-3", the folder of the third version of an index; otherwise None."""
    found = _DATA.fullmatch(name)
    return int(found[1]) if found else None


def make_data(folder: Path) -> None:
    """Makes the folder of a version's data, with a file by which `is_data` recognizes it."""
    folder.mkdir()
    (folder / _MADE_BY).write_text(_SIGNATURE)
    files.flush(folder / _MADE_BY)


def is_data(folder: Path) -> bool:
    """Returns whether `make_data` made the folder and it holds only files of an index."""
    if data_number(folder.name) is None or folder.is_symlink() or not folder.is_dir():
        return False
    names = _files_in(folder)
    if not names:
        return True  # `make_data` was stopped before it wrote the file
    is_signed = _MADE_BY in names and (folder / _MADE_BY).read_bytes() == _SIGNATURE.encode()
    return is_signed and all(map(_FILE.fullmatch, names))


def delete_data(folder: Path, names: Iterable[str] | None = None) -> None:
    """Deletes the data of a version, but no other files in the folder.

    Args:
        folder: The data.
        names: Names of its files. Default: all files; only after `is_data` recognized the folder.
    """
    if folder.is_dir() and not folder.is_symlink():
        there = _files_in(folder)
        files.delete([folder / name for name in (there & set(names) if names else there)], folder)


def _files_in(folder: Path) -> set[str]:
    """Returns the relative names of everything below a folder except folders; links count."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }


def verify_index(folder: str | Path) -> None:
    """Raises a ValueError unless every file of the index still has its recorded checksum."""
    of_one_version(Path(folder), _verify)


def of_one_version(folder: Path, read: Callable[[Path, dict[str, Any]], T]) -> T:
    """Returns `read` of the folder and its record; repeats it if a writer changes them meanwhile.

    Raises:
        OSError: If the version changed at each of several attempts.
    """
    for _ in range(_ATTEMPTS):
        record = read_record(folder)
        try:
            return read(folder, record)
        except (OSError, ValueError):
            # A writer may have replaced the version since, and deleted these files.
            if read_record(folder) == record:
                raise
    raise OSError(f"Expected {folder} not to change while it is read; it changed every time.")


def expect_listed(data: Path, record: dict[str, Any]) -> None:
    """Raises a ValueError unless the data are exactly the files that the record lists.

    It compares names and sizes, and the checksums of ScaNN's files. ScaNN reads these completely
    anyway, and does not check whether a number in them points outside its memory.
    """
    unlisted = _files_in(data) - record["files"].keys()
    if unlisted:
        raise ValueError(
            f"Expected {data} to hold only what {RECORD} lists; it also holds "
            f"{', '.join(sorted(unlisted)[:5])}. Opening an unlisted file could run code: if you "
            "did not put it there, do not trust this index. Otherwise move it away."
        )
    for name, kept in record["files"].items():
        path = data / name
        size = path.stat().st_size if path.is_file() else None
        if size != kept["bytes"]:
            found = "no such file" if size is None else f"{size:,} bytes"
            raise ValueError(
                f"Expected {path} of {kept['bytes']:,} bytes; received {found}: the index is "
                "corrupt. Build it again."
            )
    _expect_checksums(data, record, [name for name in record["files"] if name.startswith(_SCANN)])


def _verify(folder: Path, record: dict[str, Any]) -> None:
    data = folder / record["data"]
    expect_listed(data, record)
    _expect_checksums(data, record, record["files"])


def _expect_checksums(data: Path, record: dict[str, Any], names: Iterable[str]) -> None:
    kept = record["files"]
    changed = [name for name in names if files.sha256(data / name) != kept[name]["sha256"]]
    if changed:
        raise ValueError(
            f"Expected the files of {data} as they were written; {', '.join(changed)} changed. "
            "Build the index again."
        )
