"""An index on disk: its search results, and its safety in crashes and with two processes."""

import json
import multiprocessing
import os
import pickle
import resource
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from pa_keras import files
from pa_keras import index as room
from pa_keras.index import (
    Items,
    ModelRecord,
    candidates,
    expect_searchable,
    open_index,
    verify_index,
    write_index,
    writer_lock,
)

MODEL = ModelRecord("c" * 64, 0.875, run="runs/cars-1")


def unit(rng, number, size=16):
    vectors = rng.standard_normal((number, size)).astype("float32")
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def some(number, size=16, seed=0):
    rng = np.random.default_rng(seed)
    ids = [f"{seed}/{i}.jpg" for i in range(number)]
    labels = rng.integers(0, 3, number).astype("int32")
    return Items(unit(rng, number, size), ids, [f"/p/{i}" for i in ids], labels, ["a", "b", "ü"])


def clustered(number, size=32):
    rng = np.random.default_rng(0)
    centres = unit(rng, 300, size)[rng.integers(0, 300, number)]
    vectors = centres + 0.12 * rng.standard_normal((number, size)).astype("float32")
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = [str(i) for i in range(number)]
    return Items(vectors, ids, [""] * number, np.zeros(number, np.int32), [""])


def test_what_is_written_is_read(tmp_path):
    items = some(50)
    write_index(tmp_path, items, MODEL)
    index = open_index(tmp_path)
    np.testing.assert_array_equal(index.items.embeddings, items.embeddings)
    assert isinstance(index.items.embeddings, np.memmap) and index.candidates is None
    np.testing.assert_array_equal(index.items.labels, items.labels)
    assert index.items.ids == items.ids and index.items.paths == items.paths
    assert index.items.class_names == ["a", "b", "ü"] and index.model == MODEL
    assert (len(index), index.record["classes"], index.record["embedding_size"]) == (50, 3, 16)
    assert index.record["versions"]["numpy"] == np.__version__
    verify_index(tmp_path)


def test_search_equals_a_double_loop(tmp_path):
    items = some(40)
    write_index(tmp_path, items, MODEL)
    queries = unit(np.random.default_rng(9), 5)
    rows, similarities = open_index(tmp_path).search(queries, 7)
    for query, found, values in zip(queries, rows, similarities, strict=True):
        expected = sorted(((-float(query @ v), i) for i, v in enumerate(items.embeddings)))[:7]
        assert found.tolist() == [i for _, i in expected]
        np.testing.assert_allclose(values, [-s for s, _ in expected], atol=1e-6)


@pytest.mark.parametrize("tree_above", [100_000, 10_000])
def test_candidates_of_scann_are_compared_exactly(tmp_path, monkeypatch, tree_above):
    monkeypatch.setattr(candidates, "_TREE_ABOVE", tree_above)
    items = clustered(20_000)
    record = write_index(tmp_path / "a", items, MODEL)
    assert [each["k"] for each in record["search"]] == [10, 100]
    assert max(each["missed"] for each in record["search"]) <= 0.01
    (tmp_path / "a").rename(tmp_path / "b")  # an index may be moved
    index = open_index(tmp_path / "b")
    queries = clustered(300).embeddings + 0
    for k in (1, 10, 100):
        assert index.candidates.serves(k)
        rows, similarities = index.search(queries, k)
        truth = np.sort(queries @ items.embeddings.T, axis=1)[:, ::-1][:, :k]
        assert (similarities >= truth[:, -1:] - 1e-5).mean() >= 0.98
        own = np.einsum("qd,qkd->qk", queries, items.embeddings[rows])
        np.testing.assert_allclose(similarities, own, atol=1e-6)
        assert (np.diff(similarities, axis=1) <= 0).all()
        assert all(len(set(found)) == k for found in rows.tolist())
    exact, _ = index.search(queries[:3], 150)
    assert exact.shape == (3, 150)
    for bad, k, message in (
        (3 * queries, 5, "unit-length rows in queries"),
        (0 * queries, 5, "unit-length rows in queries"),
        (unit(np.random.default_rng(1), 2, 33), 5, "33 and 32"),
        (queries, 0, "k from 1 to 20000"),
    ):
        with pytest.raises(ValueError, match=message):
            index.search(bad, k)


def test_without_scann_the_search_is_exact(tmp_path, monkeypatch, caplog):
    write_index(tmp_path, clustered(20_000), MODEL)
    monkeypatch.setitem(sys.modules, "scann.scann_ops.py.scann_ops_pybind", None)
    index = open_index(tmp_path)
    assert index.candidates is None and "searched exactly, because" in caplog.text
    assert index.search(index.items.embeddings[7:8], 1)[0].tolist() == [[7]]
    record = write_index(tmp_path, clustered(20_000), MODEL)
    assert record["search"] == []


@pytest.mark.parametrize(
    "damage",
    ["shorter", "missing", "record", "format", "elsewhere", "keys", "model", "texts", "header"],
)
def test_a_corrupt_index_is_detected(tmp_path, damage):
    data = tmp_path / write_index(tmp_path, some(20), MODEL)["data"]
    record = tmp_path / "index.json"
    if damage == "shorter":
        os.truncate(data / "embeddings.npy", 500)
        expected = "embeddings.npy of 1,408 bytes; received 500 bytes: the index is corrupt"
    elif damage == "missing":
        (data / "labels.npy").unlink()
        expected = "received no such file"
    elif damage == "record":
        record.write_text(record.read_text()[:100])
        expected = "index.json as it was written"
    elif damage in ("texts", "header"):
        path = data / ("items.json" if damage == "texts" else "labels.npy")
        path.write_bytes(b"x" * path.stat().st_size)
        expected = "as they were written; they changed .*search info --verify"
    else:
        change, expected = {
            "format": ({"format": 99}, "its format is 99"),
            "elsewhere": ({"data": "../x"}, "its data are in '../x'"),
            "keys": ({"items": None}, "as it was written; it changed"),
            "model": ({"model": {}}, "as it was written; it changed"),
        }[damage]
        record.write_text(json.dumps({**json.loads(record.read_text()), **change}))
    with pytest.raises(ValueError, match=expected):
        open_index(tmp_path)
    write_index(tmp_path, some(30), MODEL)  # and it can be built again
    assert len(open_index(tmp_path)) == 30 and len(list(tmp_path.glob("data-*"))) == 1


class Attack:
    """An object whose pickle makes a file when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def with_candidates(tmp_path, monkeypatch):
    """A small index with ScaNN's files, without measuring the effort."""
    monkeypatch.setattr(candidates, "BRUTE_FORCE_BELOW", 300)
    monkeypatch.setattr(candidates, "_SAMPLE_SIZE", 20)
    items = clustered(400)
    record = write_index(tmp_path / "index", items, MODEL)
    assert record["search"]
    return tmp_path / "index", tmp_path / "index" / record["data"]


@pytest.mark.parametrize("read", [open_index, verify_index])
@pytest.mark.parametrize("is_listed", [False, True])
def test_opening_an_index_runs_no_code(with_candidates, tmp_path, is_listed, read):
    """ScaNN unpickles a file of that name if there is one."""
    folder, data = with_candidates
    path = data / "scann" / "scann_docids.pkl"
    path.write_bytes(pickle.dumps(Attack(tmp_path / "attacked")))
    if is_listed:
        record = json.loads((folder / "index.json").read_text())
        size = {"bytes": path.stat().st_size, "sha256": files.sha256(path)}
        record["files"]["scann/scann_docids.pkl"] = size
        (folder / "index.json").write_text(json.dumps(record))
    expected = "which no index has" if is_listed else "also holds scann/scann_docids.pkl"
    with pytest.raises(ValueError, match=expected):
        read(folder)
    assert not (tmp_path / "attacked").exists()
    pickle.loads(path.read_bytes())
    assert (tmp_path / "attacked").exists()  # the attack would have worked


@pytest.mark.parametrize("name", ["mine.txt", "scann/more.npy", ".hidden", "link"])
def test_an_unlisted_file_is_refused(with_candidates, tmp_path, name):
    folder, data = with_candidates
    (tmp_path / "elsewhere").mkdir()
    if name == "link":
        (data / name).symlink_to(tmp_path / "elsewhere")
    else:
        (data / name).write_text("mine")
    with pytest.raises(ValueError, match=f"also holds {name}. .*do not trust this index"):
        open_index(folder)


@pytest.mark.parametrize("name", ["../../mine.txt", "/etc/passwd", "scann/../../mine.txt", "a.npy"])
def test_a_record_of_other_files_is_refused(tmp_path, name):
    """A writer deletes the files that the record of the previous version lists."""
    write_index(tmp_path / "index", some(20), MODEL)
    record = json.loads((tmp_path / "index" / "index.json").read_text())
    record["files"][name] = {"bytes": 4, "sha256": "0"}
    (tmp_path / "index" / "index.json").write_text(json.dumps(record))
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="which no index has"):
        open_index(tmp_path / "index")
    write_index(tmp_path / "index", some(20), MODEL)
    assert (tmp_path / "mine.txt").exists()


def test_everything_that_is_written_is_listed(with_candidates):
    folder, data = with_candidates
    files = open_index(folder).record["files"]
    assert {str(path.relative_to(data)) for path in data.rglob("*") if path.is_file()} == set(files)
    assert "scann/scann_assets.pbtxt" in files and "made_by.txt" in files


def test_changed_bytes_of_scann_are_refused(with_candidates):
    """ScaNN would read outside its memory, or fail with an error that names no file."""
    folder, data = with_candidates
    for path in sorted((data / "scann").iterdir()):
        before = path.read_bytes()
        path.write_bytes(before[:-1] + bytes([before[-1] ^ 0x40]))
        with pytest.raises(ValueError, match=f"scann/{path.name} changed. Build the index"):
            open_index(folder)
        path.write_bytes(before)


def test_files_that_this_scann_cannot_read(with_candidates, caplog):
    """As from another release: the files are as they were written."""
    folder, data = with_candidates
    path = data / "scann" / "ah_codebook.pb"
    path.write_bytes(bytes(path.stat().st_size))
    record = json.loads((folder / "index.json").read_text())
    record["files"]["scann/ah_codebook.pb"]["sha256"] = files.sha256(path)
    (folder / "index.json").write_text(json.dumps(record))
    index = open_index(folder)
    assert index.candidates is None and "ScaNN cannot read its files" in caplog.text
    assert index.search(index.items.embeddings[7:8], 1)[0].tolist() == [[7]]


def test_what_was_put_into_the_data_is_kept(tmp_path):
    data = tmp_path / write_index(tmp_path, some(20), MODEL)["data"]
    (data / "notes.txt").write_text("mine")
    write_index(tmp_path, some(30), MODEL)
    assert [path.name for path in data.iterdir()] == ["notes.txt"]
    assert len(open_index(tmp_path)) == 30


@pytest.mark.parametrize("limit", [1_000, 6_500])  # bytes per file: embeddings.npy has 6,528
def test_a_full_disk_leaves_the_old_index(tmp_path, limit):
    write_index(tmp_path, some(10), MODEL)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        with pytest.raises(OSError, match=f"Expected to write {tmp_path}; .*Free some space"):
            write_index(tmp_path, some(100), MODEL)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data-1", "index.json"]
    assert len(open_index(tmp_path)) == 10


@pytest.mark.parametrize("limit", [100, 26_000])  # in the first file, or in the largest
def test_a_full_disk_while_scann_writes(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(candidates, "BRUTE_FORCE_BELOW", 300)
    monkeypatch.setattr(candidates, "_SAMPLE_SIZE", 20)
    monkeypatch.setattr(candidates, "_KS", (10,))
    items = clustered(400, 300)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    builder = candidates.load_scann()

    class Full:
        @staticmethod
        def builder(*arguments):
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
            return builder.builder(*arguments)

    monkeypatch.setattr(candidates, "load_scann", lambda: Full)
    try:
        with pytest.raises(OSError, match=f"Expected to write {tmp_path}; .*Free some space"):
            write_index(tmp_path, items, MODEL)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_no_index(tmp_path):
    with pytest.raises(FileNotFoundError, match="received none. Make one with search build"):
        open_index(tmp_path)


# Dies by SIGKILL when it calls the named function of the named module for the n-th time.
KILLED = """
import os, signal, sys
import numpy as np
from pathlib import Path
from pa_keras import files
from pa_keras.index import Items, ModelRecord, write_index
folder, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
place, attribute = {"save": (files, "save_array"), "rename": (Path, "replace")}[name]
whole, calls = getattr(place, attribute), []
def killed(*arguments):
    calls.append(0)
    if len(calls) == count:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(*arguments)
setattr(place, attribute, killed)
rows = np.eye(16, dtype="float32")
items = Items(rows, [str(i) for i in range(16)], [""] * 16, np.zeros(16, np.int32), ["new"])
write_index(folder, items, ModelRecord("d" * 64, 1.0))
"""


@pytest.mark.parametrize("where", [("save", 2), ("rename", 1)])
def test_a_crash_while_writing_leaves_the_old_index_complete(tmp_path, where):
    write_index(tmp_path, some(20), MODEL)
    command = [sys.executable, "-c", KILLED, str(tmp_path), where[0], str(where[1])]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    assert len(list(tmp_path.glob("data-*"))) == 2  # left by the crash
    assert len(open_index(tmp_path)) == 20
    verify_index(tmp_path)
    write_index(tmp_path, some(30), MODEL)
    assert len(list(tmp_path.glob("data-*"))) == 1
    assert len(open_index(tmp_path)) == 30


def test_readers_beside_a_writer(tmp_path):
    write_index(tmp_path, some(20), MODEL)
    ended = threading.Event()
    sizes, failures = set(), []

    def read():
        while not ended.is_set():
            try:
                index = open_index(tmp_path)
                sizes.add(len(index))
                assert len(index.items.embeddings) == len(index.items.ids)
            except Exception as error:
                failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(40):
        write_index(tmp_path, some(20 + number % 5), MODEL)
    ended.set()
    for reader in readers:
        reader.join()
    assert not failures and sizes <= {20, 21, 22, 23, 24} and len(sizes) > 1


def test_files_are_verified_beside_a_writer(tmp_path, monkeypatch):
    write_index(tmp_path, some(20), MODEL)
    sha256, calls = files.sha256, []

    def while_another_writes(path):
        calls.append(path)
        if len(calls) == 2:
            with monkeypatch.context() as patch:
                patch.setattr(files, "sha256", sha256)
                write_index(tmp_path, some(30), MODEL)
        return sha256(path)

    monkeypatch.setattr(files, "sha256", while_another_writes)
    verify_index(tmp_path)
    assert {path.parent.name for path in calls[2:]} == {"data-2"}


def test_an_opened_index_outlives_its_files(tmp_path):
    write_index(tmp_path, some(20), MODEL)
    index = open_index(tmp_path)
    write_index(tmp_path, some(20, seed=1), MODEL)
    np.testing.assert_array_equal(index.items.embeddings, some(20).embeddings)


def hold(folder, held, release):
    with writer_lock(folder):
        held.set()
        release.wait(60)


def test_one_writer_at_a_time(tmp_path):
    spawn = multiprocessing.get_context("spawn")  # TensorFlow does not survive a fork
    held, release = spawn.Event(), spawn.Event()
    other = spawn.Process(target=hold, args=(tmp_path, held, release))
    other.start()
    assert held.wait(60)
    with pytest.raises(BlockingIOError, match=f"process {other.pid} on "), writer_lock(tmp_path):
        pass
    release.set()
    other.join()
    with writer_lock(tmp_path):
        assert f"process {os.getpid()} on" in (tmp_path / "lock").read_text()


def test_what_cannot_be_searched():
    items = some(6)
    expect_searchable(items)
    for value in (np.nan, 0, np.inf, 2):
        vectors = items.embeddings.copy()
        vectors[4] = value
        bad = Items(vectors, items.ids, items.paths, items.labels, items.class_names)
        with pytest.raises(ValueError, match=r"received 1 others of 6: 0/4.jpg \(length"):
            expect_searchable(bad)
    twice = Items(items.embeddings, ["a"] * 6, items.paths, items.labels, items.class_names)
    with pytest.raises(ValueError, match="5 repeated, such as 'a'"):
        expect_searchable(twice)
    with pytest.raises(ValueError, match=r"received embeddings of shape \(0, 16\)"):
        expect_searchable(items.take(np.arange(0)))
    with pytest.raises(ValueError, match="with 5 ids, 6 paths and 6 labels"):
        Items(items.embeddings, items.ids[:5], items.paths, items.labels, items.class_names)
    with pytest.raises(ValueError, match=r"labels in \[0, 1\)"):
        Items(items.embeddings, items.ids, items.paths, items.labels + 1, ["a"])


def test_joined_items_share_classes_of_one_name():
    first = some(4)
    others = Items(
        first.embeddings, ["w", "x", "y", "z"], [""] * 4, np.arange(4), ["b", "z", "a", "ü"]
    )
    both = first.joined(others)
    assert both.class_names == ["a", "b", "ü", "z"]
    names = [first.label_of(i) for i in range(4)] + ["b", "z", "a", "ü"]
    assert [both.label_of(i) for i in range(8)] == names
    assert room.Items is type(both) and both.labels.dtype == np.int32
    with pytest.raises(ValueError, match="of 16 numbers, like the other items; received 8"):
        first.joined(some(3, size=8))
