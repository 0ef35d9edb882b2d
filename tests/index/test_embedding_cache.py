"""Saved chunks of embeddings: when they are reused, and when they are not."""

import os

import numpy as np
import pytest

from pa_keras.index import Chunks, are_chunks


@pytest.fixture
def paths(tmp_path):
    files = [tmp_path / f"{number}.jpg" for number in range(10)]
    for number, file in enumerate(files):
        file.write_bytes(b"x" * number)
    return [str(file) for file in files]


def sizes(paths, advance):
    advance(len(paths))
    return np.array([[os.path.getsize(path), 1] for path in paths], np.float32)


def never(paths, advance=None):
    raise AssertionError(f"{paths} again")


def test_chunks_are_embedded_once_and_in_order(paths, tmp_path):
    calls = []
    chunks = Chunks(tmp_path / "chunks", paths, "model", size=4)
    good = chunks.checked(lambda paths: np.array([0, 1, 2, 4, 5, 6, 7, 8, 9]))
    found = chunks.embedded(
        good, lambda *part: calls.append(part[0]) or sizes(*part), progress=False
    )
    assert found[:, 0].tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert [len(part) for part in calls] == [4, 4, 1]
    again = Chunks(tmp_path / "chunks", paths, "model", size=4)
    np.testing.assert_array_equal(again.checked(never), good)
    np.testing.assert_array_equal(again.embedded(good, never), found)
    again.discard()
    assert not (tmp_path / "chunks").exists()


def test_an_incomplete_chunk_does_not_count(paths, tmp_path):
    chunks = Chunks(tmp_path / "chunks", paths, "model", size=4)
    whole = chunks.embedded(np.arange(10), sizes, progress=False)
    last = max((tmp_path / "chunks").glob("embeddings-*.npy"))
    last.rename(last.with_name(f"partial-{last.name}"))
    np.testing.assert_array_equal(chunks.embedded(np.arange(10), sizes), whole)


def test_killed_before_there_was_a_plan(paths, tmp_path):
    (tmp_path / "chunks").mkdir()
    (tmp_path / "chunks" / "partial-plan.json").touch()
    Chunks(tmp_path / "chunks", paths, "model")
    assert are_chunks(tmp_path / "chunks")


@pytest.mark.parametrize(
    "name, contents",
    [
        ("mine.txt", "mine"),
        ("embeddings-000000000.npy", "mine"),  # the name alone proves nothing
        ("good.npy", "mine"),
        ("plan.json", '{"today": "buy milk"}'),
        ("plan.json", ""),
        ("lock", "mine"),
    ],
)
@pytest.mark.parametrize("with_chunks", [False, True])
def test_files_of_others_are_never_deleted(paths, tmp_path, name, contents, with_chunks):
    folder = tmp_path / "chunks"
    if with_chunks:
        Chunks(folder, paths, "model").embedded(np.arange(10), sizes, progress=False)
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(contents)
    if (name, contents) == ("plan.json", "") and not with_chunks:
        return  # an empty file has nothing to lose
    if with_chunks and name in ("embeddings-000000000.npy", "good.npy"):
        return  # they were ours
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(FileExistsError, match="nothing is deleted"):
        Chunks(folder, paths, "another model")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_what_was_put_beside_the_chunks_is_kept(paths, tmp_path):
    chunks = Chunks(tmp_path / "chunks", paths, "model")
    (tmp_path / "chunks" / "mine.txt").write_text("mine")
    chunks.discard()
    assert [path.name for path in (tmp_path / "chunks").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("other", ["key", "size", "file", "list"])
def test_other_work_starts_again(paths, tmp_path, other):
    Chunks(tmp_path / "chunks", paths, "model", size=4).embedded(np.arange(10), sizes)
    key, size = "model", 4
    if other == "key":
        key = "another"
    elif other == "size":
        size = 5
    elif other == "file":
        (tmp_path / "3.jpg").write_bytes(b"changed")
    else:
        paths = paths[:9]
    chunks = Chunks(tmp_path / "chunks", paths, key, size)
    with pytest.raises(AssertionError, match="again"):
        chunks.embedded(np.arange(len(paths)), never)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.jpg"):
        Chunks(tmp_path / "chunks", [str(tmp_path / "none.jpg")], "model")
