"""Embeddings as sharded Parquet, a format of vector databases and Beam pipelines."""

import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from pa_keras import files
from pa_keras.index.items import Items

_KEY = b"pa_keras"  # in the metadata of the schema: the model of the vectors


def write_parquet(
    items: Items, folder: str | Path, model: dict[str, Any], rows_per_shard: int = 100_000
) -> int:
    """Writes items as Parquet files with the columns id, label and vector.

    id and label are strings, and the label is null for items without one. A vector is a fixed-size
    list of D float32. The metadata of the schema hold the record of the model under "pa_keras".

    Args:
        items: Items to write.
        folder: Folder that is empty or does not exist.
        model: Record of the model that embedded the items, serializable as JSON.
        rows_per_shard: Items in each file, 1 or more. Default 100,000.

    Returns:
        The number of files.

    Raises:
        FileExistsError: If the folder is not empty.
        OSError: If the files cannot be written. The folder is then as it was before.
        ImportError: If pyarrow is not installed.
        ValueError: If rows_per_shard is below 1.
    """
    pa, pq = _pyarrow()
    if rows_per_shard < 1:
        raise ValueError(f"Expected rows_per_shard of 1 or more; received {rows_per_shard}.")
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise FileExistsError(
            f"Expected a new folder; {folder} is not empty, and nothing is overwritten. "
            "Give another."
        )
    size = items.embeddings.shape[1]
    schema = pa.schema(
        [("id", pa.string()), ("label", pa.string()), ("vector", pa.list_(pa.float32(), size))],
        metadata={_KEY: json.dumps(model)},
    )
    starts = range(0, len(items), rows_per_shard)

    def write(aside: Path) -> None:
        for number, start in enumerate(starts):
            part = items.take(np.arange(start, min(start + rows_per_shard, len(items))))
            labels = [part.label_of(row) or None for row in range(len(part))]
            vectors = pa.FixedSizeListArray.from_arrays(
                pa.array(np.asarray(part.embeddings, np.float32).reshape(-1)), size
            )
            columns = [pa.array(part.ids, pa.string()), pa.array(labels, pa.string()), vectors]
            table = pa.Table.from_arrays(columns, schema=schema)
            pq.write_table(table, aside / f"embeddings-{number:05d}-of-{len(starts):05d}.parquet")

    files.save_folder(write, folder)
    return len(starts)


def read_parquet(folder: str | Path, prefix: str = "") -> tuple[Items, dict[str, Any] | None]:
    """Reads every Parquet file of a folder, in the order of their names.

    Args:
        folder: Folder of files with the columns id, vector and, optionally, label. Other columns
            are ignored.
        prefix: Prefix of each id. Default "".

    Returns:
        The items, where an ID that is a file is also the path; and the record of the model from
        `write_parquet`, None if the files have no record.

    Raises:
        ImportError: If pyarrow is not installed.
        ValueError: If there is no file, a column is missing or has another type, the sizes of the
            vectors differ, or the files are from different models.
    """
    pa, pq = _pyarrow()
    files = sorted(Path(folder).glob("*.parquet"))
    if not files:
        raise ValueError(f"Expected Parquet files in {folder}; received none.")
    ids: list[str] = []
    labels: list[str] = []
    vectors, models = [], {}
    for file in files:
        try:
            table = pq.read_table(file, partitioning=None)
        except (pa.ArrowInvalid, OSError) as error:
            raise ValueError(f"Expected a Parquet file; cannot read {file} ({error}).") from error
        models[(table.schema.metadata or {}).get(_KEY)] = file
        ids += _strings(file, table, "id")
        labelled = "label" in table.column_names
        labels += _strings(file, table, "label") if labelled else [""] * len(table)
        if len(table):
            vectors.append(_vectors(file, table))
    if len({each.shape[1] for each in vectors}) > 1 or len(models) > 1:
        sizes = sorted({each.shape[1] for each in vectors})
        raise ValueError(
            f"Expected the vectors of one model in {folder}; received sizes {sizes} of "
            f"{len(models)} models. Keep the files of each model in a separate folder."
        )
    names, numbers = np.unique(np.array(labels, object), return_inverse=True)
    embeddings = np.concatenate(vectors) if vectors else np.zeros((0, 0), np.float32)
    paths = [os.path.abspath(name) if os.path.isfile(name) else "" for name in ids]
    ids = [prefix + name for name in ids]
    items = Items(embeddings, ids, paths, numbers.astype(np.int32).reshape(-1), names.tolist())
    record = next(iter(models))
    return items, None if record is None else json.loads(record)


def _strings(file: Path, table: Any, column: str) -> list[str]:
    if column not in table.column_names:
        raise ValueError(
            f"Expected a column {column} in {file}; received {', '.join(table.column_names)}."
        )
    values = table[column].to_pylist()
    if column == "id" and None in values:
        raise ValueError(f"Expected an id in every row of {file}; received null.")
    return ["" if value is None else str(value) for value in values]


def _vectors(file: Path, table: Any) -> np.ndarray:
    """Returns the column of vectors, float32 (N, D), from lists of fixed or variable size."""
    if "vector" not in table.column_names:
        raise ValueError(
            f"Expected a column vector in {file}; received {', '.join(table.column_names)}."
        )
    column = table["vector"].combine_chunks()
    try:
        flat = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
        vectors = flat.reshape(len(table), -1)
    except (AttributeError, ValueError) as error:
        raise ValueError(
            f"Expected a vector of one size in every row of {file}; received {column.type}."
        ) from error
    sizes = _pyarrow()[0].compute.list_value_length(column).unique().to_pylist()
    if sizes != [vectors.shape[1]]:
        raise ValueError(
            f"Expected a vector of one size in every row of {file}; received sizes {sizes}."
        )
    return vectors


def _pyarrow() -> tuple[ModuleType, ModuleType]:
    try:
        import pyarrow as pa
        import pyarrow.compute
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ImportError(
            'Expected pyarrow, which reads and writes Parquet: pip install "pa_keras[parquet]".'
        ) from error
    return pa, pq
