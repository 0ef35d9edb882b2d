"""Reads a manifest: a CSV file with the path, the class and optionally the split of each image."""

import csv
import dataclasses
import logging
import os
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from tqdm import tqdm

from pa_keras.datasets.images import Dataset, Images, absolute, label_images
from pa_keras.datasets.similar_names import warn_of_similar_classes
from pa_keras.datasets.splits import SPLITS, split_as_given, split_by_fraction

logger = logging.getLogger(__name__)

CLASS_COLUMNS = ("class_id", "class", "label", "class_name")

_DELIMITERS = ",;\t"
# Marks of a missing value that spreadsheets, pandas and databases write.
_NO_VALUE = {"nan", "none", "null", "na", "n/a", "#n/a", "<na>", "nat"}
_NAMED = 20  # lines in a message
_USED = ("path", *CLASS_COLUMNS, "split")


@dataclasses.dataclass(frozen=True)
class _Table:
    """The rows of a manifest: the names of all columns, and the cells of those that are used."""

    header: list[str]
    lines: list[int]  # the number of each row's line in an editor
    columns: dict[str, list[str]]


def load_manifest(data_dir: str | Path, test_fraction: float = 0.5) -> Dataset:
    """Read the images, classes and splits that a CSV file lists.

    Commas, semicolons or tabs separate the cells. The columns may be in any order; other columns
    are ignored:

    - `path`: a path relative to the folder of the CSV, and inside it (a link may lead elsewhere).
    - `class_id`, `class`, `label` or `class_name`, whichever of them comes first in this list:
      numbers or words.
    - `split`, optional: train, and test (each searches the others) or query and gallery; and val,
      to select the best epoch by. Without train there are only test images. Without this column the
      first classes are for training and the others for testing.
    - `class_name`, optional: the name of the class.

    Args:
        data_dir: The CSV file, or a folder with a `manifest.csv`.
        test_fraction: Share of the classes to test on, in (0, 1]; 1: there are only test images. It
            has no effect if there is a column `split`. Default 0.5.

    Raises:
        FileNotFoundError: The manifest is missing, or images that it lists are.
        ValueError: A column or a cell is missing, a column or a path is repeated, a path is
            outside the folder, a split is unknown, or there are too few classes or images.

    Example:
        >>> load_manifest("shop/manifest.csv").queries  # doctest: +SKIP
        Images(8131 images, 98 classes)
    """
    manifest = _find_manifest(data_dir)
    images, splits = _images_and_splits(manifest, classes_needed=True)
    name = manifest.parent.name
    if splits is not None:
        return split_as_given(name, images, splits)
    return split_by_fraction(name, images, test_fraction)


def load_written(folder: Path, name: str, test_fraction: float = 0.5) -> Dataset:
    """Read a data set that was written to the cache folder, and give it its name."""
    try:
        return dataclasses.replace(load_manifest(folder, test_fraction), name=name)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"Expected {folder} to be complete; received it with files missing. Delete {folder}; "
            "it is written again."
        ) from error


def read_manifest(data_dir: str | Path) -> tuple[Images, list[str] | None]:
    """Returns all images that a manifest lists, in its order, and their splits if it has any.

    An image without a class has the class "".
    """
    return _images_and_splits(_find_manifest(data_dir), classes_needed=False)


def _images_and_splits(manifest: Path, classes_needed: bool) -> tuple[Images, list[str] | None]:
    table = _read_table(manifest)
    columns = table.columns
    class_column = next((c for c in CLASS_COLUMNS if c in columns), None)
    if "path" not in columns or (classes_needed and class_column is None):
        missing = " or ".join(CLASS_COLUMNS) if "path" in columns else "path"
        raise ValueError(
            f"Expected a column {missing} in {manifest}; received the columns "
            f"{', '.join(table.header)}. Name it in the first line."
        )
    needed = ["path", class_column] if classes_needed and class_column else ["path"]
    _expect_cells(manifest, table, needed)
    classes = columns[class_column] if class_column else [""] * len(table.lines)
    _warn_of_doubtful_classes(manifest, table.lines, classes)
    names = _class_names(classes, columns.get("class_name", classes))
    images = label_images(_checked_paths(manifest, table), classes, names)
    return images, _splits(manifest, table) if "split" in columns else None


def _expect_cells(manifest: Path, table: _Table, needed: list[str]) -> None:
    """Raises a ValueError that names the lines without a value in one of the columns."""
    cells = [table.columns[column] for column in needed]
    if not all(map(all, cells)):
        rows = zip(table.lines, *cells, strict=True)
        empty = [line for line, *row in rows if not all(row)]
        raise ValueError(
            f"Expected a {' and a '.join(needed)} in every line of {manifest}; received none in "
            f"{_lines(empty)}. Fill in or remove them."
        )


def _warn_of_doubtful_classes(manifest: Path, lines: list[int], classes: list[str]) -> None:
    different = set(classes)
    doubtful = {
        "have no class": different & {""},
        "have a class that is the mark of a missing value, such as 'nan', and are taken as one "
        "class": {c for c in different if c.lower() in _NO_VALUE},
    }
    for what, marks in doubtful.items():
        # A gallery without a column of classes is intended.
        if marks and different != {""}:
            found = [line for line, c in zip(lines, classes, strict=True) if c in marks]
            logger.warning("In %s, %d rows %s: %s.", manifest, len(found), what, _lines(found))
    warn_of_similar_classes(different, manifest)


def _lines(numbers: list[int]) -> str:
    """Formats line numbers, as in "line 4" or "lines 4, 9"."""
    more = f" and {len(numbers) - _NAMED} more" if len(numbers) > _NAMED else ""
    return f"line{'s'[: len(numbers) - 1]} {', '.join(map(str, numbers[:_NAMED]))}{more}"


def _find_manifest(data_dir: str | Path) -> Path:
    """Returns the CSV file itself, or `manifest.csv` in a folder, as an absolute path."""
    path = absolute(data_dir)
    manifest = path / "manifest.csv" if path.is_dir() else path
    if not manifest.is_file():
        raise FileNotFoundError(
            f"Expected a manifest at {manifest}; received no such file. Give a CSV, or a folder "
            f"with a manifest.csv, whose first line is: path,{CLASS_COLUMNS[0]},split"
        )
    return manifest


def _read_table(manifest: Path) -> _Table:
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as file:
            # Column names contain no delimiters.
            header = file.readline()
            delimiter = max(_DELIMITERS, key=header.count)
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True)
            return _parse(manifest, reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"Expected a CSV in UTF-8; received {manifest}: {error}. Save it as such."
        ) from error


def _parse(manifest: Path, reader: Any) -> _Table:
    """Parses the lines of a `csv.reader`."""
    header = [name.strip() for name in next(reader, [])]
    _check_columns(manifest, header)
    lines: list[int] = []
    columns: dict[str, list[str]] = {c: [] for c in header if c in _USED}
    appended = [(header.index(name), column.append) for name, column in columns.items()]
    for row in tqdm(reader, "Reading the manifest", unit="line", disable=None, delay=1):
        if not row:  # an empty line
            continue
        if len(row) != len(header):
            _raise_for_cells(manifest, reader, header, row)
        lines.append(reader.line_num)
        for i, append in appended:
            append(row[i].strip())
    if not lines:
        raise ValueError(
            f"Expected a line of column names and one line for each image in {manifest}; received "
            "no image. Add some."
        )
    return _Table(header, lines, columns)


def _check_columns(manifest: Path, columns: list[str]) -> None:
    twice = [c for c in _USED if columns.count(c) > 1]
    if twice:
        raise ValueError(
            f"Expected each column once in {manifest}; received {twice[0]} again. Rename one."
        )


def _raise_for_cells(manifest: Path, reader: Any, header: list[str], row: list[str]) -> NoReturn:
    raise ValueError(
        f"Expected {len(header)} cells in line {reader.line_num} of {manifest}, as "
        f"in its first line; received {'more' if len(row) > len(header) else 'fewer'}. Quote a "
        f"cell that holds {reader.dialect.delimiter!r}."
    )


def _checked_paths(manifest: Path, table: _Table) -> list[str]:
    folder, given = str(manifest.parent), table.columns["path"]
    below = folder.rstrip(os.sep) + os.sep
    paths = [os.path.normpath(path if path.startswith(os.sep) else below + path) for path in given]
    line_of: dict[str, int] = {}
    for path, cell, line in zip(paths, given, table.lines, strict=True):
        # Links are not resolved: a link inside the folder may lead to a disk with the images.
        if not path.startswith(below):
            raise ValueError(
                f"Expected paths inside {folder}; received {cell!r} in line {line} of "
                f"{manifest}, which is outside. Move the manifest up, or link the images there."
            )
        first = line_of.setdefault(path, line)
        if first != line:
            raise ValueError(
                f"Expected each path once in {manifest}; received {cell!r} in line "
                f"{first} and again in line {line}. Remove one of them."
            )
    missing = [
        path
        for path in tqdm(paths, "Looking up images", unit="image", disable=None, delay=1)
        if not os.path.isfile(path)
    ]
    if missing:
        raise FileNotFoundError(
            missing_images_message(str(manifest), missing, len(paths), "remove their lines")
        )
    return paths


def missing_images_message(listed_in: str, missing: list[str], total: int, otherwise: str) -> str:
    """Returns an error message that names at most 20 of the missing files."""
    shown = "".join(f"\n    {path}" for path in missing[:20])
    more = f"\n    ... and {len(missing) - 20} more" if len(missing) > 20 else ""
    return (
        f"Expected the {total} images that {listed_in} lists; received {len(missing)} paths "
        f"without a file. Put these files there, or {otherwise}:{shown}{more}"
    )


def _class_names(classes: list[str], given: list[str]) -> dict[str, str]:
    """Maps each class to the name in its first row; without one, to itself."""
    names: dict[str, str] = {}
    for key, name in zip(classes, given, strict=True):
        names.setdefault(key, name or key)
    if len(set(names.values())) < len(names):
        # Classes of the same name must be distinguishable in tables and pictures.
        return {key: key if name == key else f"{name} ({key})" for key, name in names.items()}
    return names


def _splits(manifest: Path, table: _Table) -> list[str]:
    known: dict[str, str] = {}
    for line, split in zip(table.lines, table.columns["split"], strict=True):
        if split in known:
            continue
        if split.lower() not in SPLITS:
            close = get_close_matches(split.lower(), SPLITS, n=1)
            raise ValueError(
                f"Expected a split of {', '.join(SPLITS)}; received {split!r} in line "
                f"{line} of {manifest}. " + (f"Did you mean {close[0]!r}?" if close else "Use one.")
            )
        known[split] = split.lower()
    return [known[split] for split in table.columns["split"]]
