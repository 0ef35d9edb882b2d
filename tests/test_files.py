"""Files and folders that are complete or not there, and locks that overwrite nothing."""

import errno
import os
import resource

import numpy as np
import pytest

from pa_keras import files


def full_disk(path):
    """Writes the beginning of a file, or of a file in a folder, and then fails."""
    file = path / "a.txt" if os.path.isdir(path) else path
    with open(file, "w") as stream:
        stream.write("half")
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_file_is_replaced_when_it_is_complete(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("before")
    with pytest.raises(OSError, match="No space left.*What was there before is kept. Free some"):
        files.save_whole(full_disk, path)
    assert path.read_text() == "before" and os.listdir(tmp_path) == ["a.txt"]
    files.save_whole(lambda partial: open(partial, "w").close(), path)
    assert path.read_text() == ""


def test_a_folder_appears_when_it_is_complete(tmp_path):
    folder = tmp_path / "out"
    with pytest.raises(OSError, match=f"Expected to write {folder}; .*start the same command"):
        files.save_folder(full_disk, folder)
    assert os.listdir(tmp_path) == []
    for _ in range(2):
        files.save_folder(lambda aside: (aside / "a.txt").write_text("all"), folder)
        assert (folder / "a.txt").read_text() == "all" and os.listdir(tmp_path) == ["out"]
        (folder / "a.txt").unlink()  # an empty folder may be filled
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(OSError, match="not empty"):
        files.save_folder(lambda aside: (aside / "a.txt").write_text("all"), folder)
    assert os.listdir(folder) == ["mine.txt"]


@pytest.mark.parametrize("missing", [1, 300, 5_000, 50_000])
def test_an_array_on_a_full_disk(tmp_path, missing):
    """np.save would be silent where less than 4 kB are missing."""
    array = np.arange(20_000, dtype=np.float32).reshape(200, 100)
    files.save_array(tmp_path / "a.npy", array)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), array)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (128 + array.nbytes - missing, before[1]))
        with pytest.raises(OSError, match="File too large"):
            files.save_array(tmp_path / "b.npy", array)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_files_of_others_are_not_deleted(tmp_path):
    for name in ("out/a.txt", "out/in/b.txt", "out/in/mine.txt", "out/empty/c.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    ours = [tmp_path / "out" / name for name in ("a.txt", "in/b.txt", "empty/c.txt", "gone.txt")]
    files.delete(ours, tmp_path / "out")
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [tmp_path / "out/in/mine.txt"]
    assert not (tmp_path / "out/empty").exists()
    files.delete([tmp_path / "out/in/mine.txt"], tmp_path / "out")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("before", [None, "", "process 4711 on host\n"])
def test_a_lock_says_that_it_is_one(tmp_path, before):
    lock = tmp_path / "lock"
    if before is not None:
        lock.write_text(before)  # as earlier versions left it
    assert files.is_lock(lock) == bool(before)
    with files.locked(lock, "writes", "Wait."):
        assert files.is_lock(lock) and f"process {os.getpid()} on " in lock.read_text()
        with (
            pytest.raises(BlockingIOError, match=rf"writes; process {os.getpid()} on \S+ does so"),
            files.locked(lock, "writes", "Wait."),
        ):
            pass
    assert files.is_lock(lock) and "process" not in lock.read_text()


@pytest.mark.parametrize("contents", [b"my notes", b"\xff\xfe\0", b"process 1 on a\nmine"])
def test_a_file_that_is_called_lock_is_not_overwritten(tmp_path, contents):
    lock = tmp_path / "lock"
    lock.write_bytes(contents)
    with pytest.raises(FileExistsError, match="nothing is overwritten"), files.locked(lock, "", ""):
        pass
    assert lock.read_bytes() == contents and not files.is_lock(lock)
