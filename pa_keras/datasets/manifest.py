"""A CSV that names each image, its class and, if wanted, its split."""

import csv
import dataclasses
import os
from difflib import get_close_matches
from pathlib import Path

from pa_keras.datasets.images import Dataset, Images, absolute, label_images
from pa_keras.datasets.splits import split_as_given, split_by_class

CLASS_COLUMNS = ("class_id", "class", "label")
SPLITS = ("train", "test", "query", "gallery")


def load_manifest(data_dir: str | Path, test_fraction: float = 0.5) -> Dataset:
    """Read the images, classes and splits that a CSV lists.

    The columns, in any order, others being ignored:

    - `path`: relative to the folder of the CSV, and inside it (a link there may lead elsewhere).
    - `class_id`, `class` or `label`, the first of them that is there: numbers or words.
    - `split`, optional: train, and test (each searches the others) or query and gallery. Without
      this column the first classes are for training and the others for the test.
    - `class_name`, optional: what to call the class.

    Args:
        data_dir: the CSV, or a folder with a `manifest.csv`.
        test_fraction: share of the classes, in (0, 1), for the test. Default 0.5. Of no effect
            where there is a column `split`.

    Raises:
        FileNotFoundError: no manifest, or images that it lists are not there.
        ValueError: a column or cell that is missing, a path that is there twice or lies outside
            of the folder, an unknown split, too few classes or images.

    Example:
        >>> load_manifest("shop/manifest.csv").queries  # doctest: +SKIP
        Images(8131 images, 98 classes)
    """
    manifest = _find_manifest(data_dir)
    images, splits = _images_and_splits(manifest)
    name = manifest.parent.name
    if splits is not None:
        return split_as_given(name, images, splits)
    return Dataset(name, *split_by_class(images, test_fraction))


def load_written(folder: Path, name: str, test_fraction: float = 0.5) -> Dataset:
    """Read a set that was written below the cache folder, under its own name."""
    try:
        return dataclasses.replace(load_manifest(folder, test_fraction), name=name)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"Expected {folder} as it was once written; received it with files missing. Delete "
            f"{folder}; it is written again."
        ) from error


def read_manifest(data_dir: str | Path) -> tuple[Images, list[str] | None]:
    """Every image that a manifest lists, in its order, and their splits where it has any."""
    return _images_and_splits(_find_manifest(data_dir))


def _images_and_splits(manifest: Path) -> tuple[Images, list[str] | None]:
    rows = _read_rows(manifest)
    columns = rows[0][1].keys()
    class_column = next((c for c in CLASS_COLUMNS if c in columns), None)
    if class_column is None or "path" not in columns:
        missing = "path" if class_column else " or ".join(CLASS_COLUMNS)
        raise ValueError(
            f"Expected a column {missing} in {manifest}; received the columns "
            f"{', '.join(columns)}. Name it in the first line."
        )
    for line, row in rows:
        if not row["path"] or not row[class_column]:
            raise ValueError(
                f"Expected a path and a {class_column} in line {line} of {manifest}; received "
                f"{row['path']!r} and {row[class_column]!r}. Fill in or remove the line."
            )
    images = label_images(
        _checked_paths(manifest, rows),
        [row[class_column] for _, row in rows],
        _class_names(rows, class_column),
    )
    return images, _splits(manifest, rows) if "split" in columns else None


def _find_manifest(data_dir: str | Path) -> Path:
    """The CSV itself, or `manifest.csv` in a folder, as an absolute path."""
    path = absolute(data_dir)
    manifest = path / "manifest.csv" if path.is_dir() else path
    if not manifest.is_file():
        raise FileNotFoundError(
            f"Expected a manifest at {manifest}; received no such file. Give a CSV, or a folder "
            f"with a manifest.csv, whose first line is: path,{CLASS_COLUMNS[0]},split"
        )
    return manifest


def _read_rows(manifest: Path) -> list[tuple[int, dict[str, str]]]:
    """(line number as an editor shows it, column -> cell) of each row."""
    rows = []
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            reader.fieldnames = [c.strip() for c in reader.fieldnames or ()]
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


def _check_cells(manifest: Path, reader: csv.DictReader, row: dict) -> None:
    if None in row or None in row.values():
        raise ValueError(
            f"Expected {len(reader.fieldnames)} cells in line {reader.line_num} of {manifest}, as "
            f"in its first line; received {'more' if None in row else 'fewer'}. Quote a cell that "
            "holds a comma."
        )


def _checked_paths(manifest: Path, rows: list[tuple[int, dict[str, str]]]) -> list[str]:
    folder = str(manifest.parent)
    seen: dict[str, int] = {}
    for line, row in rows:
        path = os.path.normpath(os.path.join(folder, row["path"]))
        # By name only: a link inside the folder may well lead to a disk with the images.
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
    """An error's text that names at most 20 of the missing files."""
    shown = "".join(f"\n    {path}" for path in missing[:20])
    more = f"\n    ... and {len(missing) - 20} more" if len(missing) > 20 else ""
    return (
        f"Expected the {total} images that {listed_in} lists; received {len(missing)} paths "
        f"without a file. Put these files there, or {otherwise}:{shown}{more}"
    )


def _class_names(rows: list[tuple[int, dict[str, str]]], class_column: str) -> dict[str, str]:
    names: dict[str, str] = {}
    for _, row in rows:
        names.setdefault(row[class_column], row.get("class_name") or row[class_column])
    if len(set(names.values())) < len(names):
        # Two classes of one name must stay apart in tables and pictures.
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
