"""Parquet files: round trips, reading by pyarrow itself, and rejected files."""

import resource
import sys

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from pa_keras.index import Items, read_parquet, write_parquet

MODEL = {"checksum": "c" * 64, "crop_fraction": 0.875}
VECTORS = np.eye(5, 3, dtype="float32")
ITEMS = Items(VECTORS, list("abcde"), [""] * 5, np.array([1, 0, 1, 2, 2]), ["", "x", "ü"])


def write(folder, columns, name="a.parquet"):
    folder.mkdir(exist_ok=True)
    parquet.write_table(pa.table(columns), folder / name)
    return folder


def test_shards_are_what_pyarrow_reads(tmp_path):
    assert write_parquet(ITEMS, tmp_path / "out", MODEL, rows_per_shard=2) == 3
    assert [file.name for file in sorted((tmp_path / "out").iterdir())] == [
        f"embeddings-0000{number}-of-00003.parquet" for number in range(3)
    ]
    table = parquet.read_table(tmp_path / "out")
    assert table.schema.field("vector").type == pa.list_(pa.float32(), 3)
    assert table["id"].to_pylist() == list("abcde")
    assert table["label"].to_pylist() == ["x", None, "x", "ü", "ü"]
    np.testing.assert_array_equal(table["vector"].to_pylist(), VECTORS)


@pytest.mark.parametrize("limit", [10, 800])
def test_a_full_disk_leaves_nothing(tmp_path, limit):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        with pytest.raises(OSError, match=f"Expected to write {tmp_path / 'out'}; .*Free some"):
            write_parquet(ITEMS, tmp_path / "out", MODEL)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []
    assert write_parquet(ITEMS, tmp_path / "out", MODEL) == 1


def test_there_and_back(tmp_path):
    write_parquet(ITEMS, tmp_path / "out", MODEL, rows_per_shard=2)
    items, record = read_parquet(tmp_path / "out")
    assert record == MODEL and items.ids == list("abcde")
    np.testing.assert_array_equal(items.embeddings, VECTORS)
    labels = [[each.label_of(row) for row in range(5)] for each in (items, ITEMS)]
    assert labels[0] == labels[1]


def test_vectors_of_others(tmp_path):
    photo = tmp_path / "photo.jpg"
    photo.touch()
    folder = write(
        tmp_path / "in",
        {
            "id": [str(photo), "b"],
            "vector": pa.array([[0.5, 1], [2, 3]], pa.list_(pa.float64())),
            "other": [1, 2],
        },
    )
    items, record = read_parquet(folder)
    assert record is None and items.paths == [str(photo), ""]
    np.testing.assert_array_equal(items.embeddings, np.float32([[0.5, 1], [2, 3]]))
    assert [items.label_of(row) for row in range(2)] == ["", ""]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"name": ["a"], "vector": [[1.0]]}, "a column id in .*; received name, vector"),
        ({"id": ["a"]}, "a column vector in"),
        ({"id": [None, "a"], "vector": [[1.0], [1.0]]}, "an id in every row"),
        ({"id": ["a", "b"], "vector": [[1.0], [1.0, 2.0]]}, "a vector of one size in every row"),
        ({"id": ["a", "b"], "vector": [[1.0, 2.0, 3.0], [1.0]]}, "received sizes"),
        ({"id": ["a", "b"], "vector": [[1.0], None]}, "a vector of one size in every row"),
        ({"id": ["a"], "vector": ["text"]}, "a vector of one size in every row"),
    ],
)
def test_unfit_files(tmp_path, columns, message):
    with pytest.raises(ValueError, match=message):
        read_parquet(write(tmp_path / "in", columns))


def test_files_of_different_models(tmp_path):
    folder = write(tmp_path / "in", {"id": ["a"], "vector": [[1.0]]})
    write(folder, {"id": ["b"], "vector": [[1.0, 0.0]]}, "b.parquet")
    with pytest.raises(ValueError, match=r"received sizes \[1, 2\] of 1 models"):
        read_parquet(folder)


def test_no_parquet(tmp_path, monkeypatch):
    (tmp_path / "a.parquet").write_bytes(b"none")
    with pytest.raises(ValueError, match="cannot read .*a.parquet"):
        read_parquet(tmp_path)
    with pytest.raises(ValueError, match="received none"):
        read_parquet(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="rows_per_shard of 1 or more"):
        write_parquet(ITEMS, tmp_path / "out", MODEL, 0)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pa_keras\[parquet\]"):
        read_parquet(tmp_path)
