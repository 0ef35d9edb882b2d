"""Reads a manifest: a CSV file with the path, the class and optionally the split of each image."""

import csv
import dataclasses
import logging
import os
from difflib import get_close_matches
from pathlib import Path

from pa_keras.datasets.images import Dataset, Images, absolute, label_images
from pa_keras.datasets.similar_names import warn_of_similar_classes
from pa_keras.datasets.splits import SPLITS, split_as_given, split_by_fraction

logger = logging.getLogger(__name__)

CLASS_COLUMNS = ("class_id", "class", "label", "class_name")

_DELIMITERS = ",;\t"
# Marks of a missing value that spreadsheets, pandas and databases write.
_NO_VALUE = {"nan", "none", "null", "na", "n/a", "#n/a", "<na>", "nat"}
_NAMED = 20  # lines in a message


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
    rows = _read_rows(manifest)
    columns = rows[0][1].keys()
    class_column = next((c for c in CLASS_COLUMNS if c in columns), None)
    if "path" not in columns or (classes_needed and class_column is None):
        missing = " or ".join(CLASS_COLUMNS) if "path" in columns else "path"
        raise ValueError(
            f"Expected a column {missing} in {manifest}; received the columns "
            f"{', '.join(columns)}. Name it in the first line."
        )
    needed = ["path", class_column] if classes_needed and class_column else ["path"]
    _expect_cells(manifest, rows, needed)
    classes = [row[class_column] if class_column else "" for _, row in rows]
    _warn_of_doubtful_classes(manifest, [line for line, _ in rows], classes)
    images = label_images(
        _checked_paths(manifest, rows), classes, _class_names(classes, [row for _, row in rows])
    )
    return images, _splits(manifest, rows) if "split" in columns else None


def _expect_cells(
    manifest: Path, rows: list[tuple[int, dict[str, str]]], columns: list[str]
) -> None:
    """Raises a ValueError that names the lines without a value in one of the columns."""
    empty = [line for line, row in rows if not all(row[column] for column in columns)]
    if empty:
        raise ValueError(
            f"Expected a {' and a '.join(columns)} in every line of {manifest}; received none in "
            f"{_lines(empty)}. Fill in or remove them."
        )


def _warn_of_doubtful_classes(manifest: Path, lines: list[int], classes: list[str]) -> None:
    doubtful = {
        "have no class": [ln for ln, c in zip(lines, classes, strict=True) if not c],
        "have a class that is the mark of a missing value, such as 'nan', and are taken as one "
        "class": [ln for ln, c in zip(lines, classes, strict=True) if c.lower() in _NO_VALUE],
    }
    for what, found in doubtful.items():
        # A gallery without a column of classes is intended.
        if found and any(classes):
            logger.warning("In %s, %d rows %s: %s.", manifest, len(found), what, _lines(found))
    warn_of_similar_classes(classes, manifest)


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


def _read_rows(manifest: Path) -> list[tuple[int, dict[str, str]]]:
    """Returns each row as (line number in an editor, dict of cells by column)."""
    rows = []
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as file:
            # Column names contain no delimiters.
            header = file.readline()
            delimiter = max(_DELIMITERS, key=header.count)
            file.seek(0)
            reader = csv.DictReader(file, delimiter=delimiter, skipinitialspace=True)
            reader.fieldnames = [c.strip() for c in reader.fieldnames or ()]
            _check_columns(manifest, reader.fieldnames)
            for row in reader:
                _check_cells(manifest, reader, row)
                rows.append((reader.line_num, {c: v.strip() for c, v in row.items()}))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"Expected a CSV in UTF-8; received {manifest}: {error}. Save it as such."
        ) from error
    if not rows:
        raise ValueError(
            f"Expected a line of column names and one line for each image in {manifest}; received "
            "no image. Add some."
        )
    return rows


def _check_columns(manifest: Path, columns: list[str]) -> None:
    twice = [c for c in ("path", *CLASS_COLUMNS, "split") if columns.count(c) > 1]
    if twice:
        raise ValueError(
            f"Expected each column once in {manifest}; received {twice[0]} again. Rename one."
        )


def _check_cells(manifest: Path, reader: csv.DictReader, row: dict) -> None:
    if None in row or None in row.values():
        number = len(reader.fieldnames or ())
        raise ValueError(
            f"Expected {number} cells in line {reader.line_num} of {manifest}, as "
            f"in its first line; received {'more' if None in row else 'fewer'}. Quote a cell that "
            f"holds {reader.reader.dialect.delimiter!r}."
        )


def _checked_paths(manifest: Path, rows: list[tuple[int, dict[str, str]]]) -> list[str]:
    folder = str(manifest.parent)
    seen: dict[str, int] = {}
    for line, row in rows:
        path = os.path.normpath(os.path.join(folder, row["path"]))
        # Links are not resolved: a link inside the folder may lead to a disk with the images.
        if not path.startswith(folder.rstrip(os.sep) + os.sep):
            raise ValueError(
                f"Expected paths inside {folder}; received {row['path']!r} in line {line} of "
                f"{manifest}, which is outside. Move the manifest up, or link the images there."
            )
        if path in seen:
            raise ValueError(
                f"Expected each path once in {manifest}; received {row['path']!r} in line "
                f"{seen[path]} and again in line {line}. Remove one of them."
            )
        seen[path] = line
    missing = [path for path in seen if not os.path.isfile(path)]
    if missing:
        raise FileNotFoundError(
            missing_images_message(str(manifest), missing, len(seen), "remove their lines")
        )
    return list(seen)


def missing_images_message(listed_in: str, missing: list[str], total: int, otherwise: str) -> str:
    """Returns an error message that names at most 20 of the missing files."""
    shown = "".join(f"\n    {path}" for path in missing[:20])
    more = f"\n    ... and {len(missing) - 20} more" if len(missing) > 20 else ""
    return (
        f"Expected the {total} images that {listed_in} lists; received {len(missing)} paths "
        f"without a file. Put these files there, or {otherwise}:{shown}{more}"
    )


def _class_names(classes: list[str], rows: list[dict[str, str]]) -> dict[str, str]:
    names: dict[str, str] = {}
    for key, row in zip(classes, rows, strict=True):
        names.setdefault(key, row.get("class_name") or key)
    if len(set(names.values())) < len(names):
        # Classes of the same name must be distinguishable in tables and pictures.
        return {key: key if name == key else f"{name} ({key})" for key, name in names.items()}
    return names


def _splits(manifest: Path, rows: list[tuple[int, dict[str, str]]]) -> list[str]:
    for line, row in rows:
        if row["split"].lower() not in SPLITS:
            close = get_close_matches(row["split"].lower(), SPLITS, n=1)
            raise ValueError(
                f"Expected a split of {', '.join(SPLITS)}; received {row['split']!r} in line "
                f"{line} of {manifest}. " + (f"Did you mean {close[0]!r}?" if close else "Use one.")
            )
    return [row["split"].lower() for _, row in rows]
