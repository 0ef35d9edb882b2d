import errno
from pathlib import Path

import pytest

from pa_keras.datasets.cache import cache_folder, progress, write_once


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("PA_KERAS_HOME", str(tmp_path / "cache"))
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("PA_KERAS_HOME")
    assert cache_folder() == Path.home() / ".cache" / "pa_keras"


def test_a_set_is_written_once(tmp_path):
    calls = []

    def write(folder):
        calls.append(folder)
        (folder / "a").write_text("a")

    target = tmp_path / "deep" / "set"
    for _ in range(2):
        assert write_once(target, write) == target
    assert (target / "a").read_text() == "a"
    assert len(calls) == 1
    assert [path.name for path in target.parent.iterdir()] == ["set"]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ValueError])
def test_an_interrupted_write_leaves_nothing_and_is_redone(tmp_path, interruption):
    def interrupted(folder):
        (folder / "a").write_text("half")
        raise interruption

    with pytest.raises(interruption):
        write_once(tmp_path / "set", interrupted)
    assert not list(tmp_path.iterdir())
    write_once(tmp_path / "set", lambda folder: (folder / "a").write_text("whole"))
    assert (tmp_path / "set" / "a").read_text() == "whole"


def test_of_two_writers_the_first_wins(tmp_path):
    def overtaken(folder):
        (folder / "a").write_text("second")
        write_once(tmp_path / "set", lambda other: (other / "a").write_text("first"))

    write_once(tmp_path / "set", overtaken)
    assert (tmp_path / "set" / "a").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_full_disk_says_what_to_do(tmp_path):
    def full(folder):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left.*PA_KERAS_HOME") as caught:
        write_once(tmp_path / "set", full)
    assert caught.value.errno == errno.ENOSPC
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("link", [False, True])
def test_a_file_in_place_of_the_cache_folder_says_what_to_do(tmp_path, link):
    file = tmp_path / "cache"
    if link:
        file.symlink_to(tmp_path / "nowhere")
    else:
        file.touch()
    with pytest.raises(OSError, match="write image files to .*cache.*; received .*PA_KERAS_HOME"):
        write_once(file / "tfds" / "set", lambda folder: None)


def test_errors_of_the_writer_pass_unchanged(tmp_path):
    def broken(folder):
        raise OSError("cannot identify image file")

    with pytest.raises(OSError, match="^cannot identify image file$"):
        write_once(tmp_path / "set", broken)


def test_progress_yields_every_item():
    assert list(progress(iter("abc"), 3, "Letters")) == ["a", "b", "c"]


def test_a_source_that_may_not_be_read_is_named(tmp_path):
    """The error is not about a cache that cannot be written to."""

    def write(folder):
        raise PermissionError(errno.EACCES, "Permission denied", "/photos/000001.jpg")

    with pytest.raises(PermissionError, match="000001.jpg") as raised:
        write_once(tmp_path / "set", write)
    assert "PA_KERAS_HOME" not in str(raised.value)


def test_a_cache_that_may_not_be_written_to_says_what_to_do(tmp_path):
    def write(folder):
        raise PermissionError(errno.EACCES, "Permission denied", str(folder / "a.jpg"))

    with pytest.raises(OSError, match="PA_KERAS_HOME"):
        write_once(tmp_path / "set", write)
