"""Run folders: nothing is overwritten, and unwritable folders fail before the work."""

import shutil
from collections import namedtuple

import pytest

from pa_keras.runs.folder import existing_run_folder, new_run_folder


def test_default_name_counts_up(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [str(new_run_folder(None, "tfds:cars196", room=0).path) for _ in range(3)]
    assert names == [f"runs/tfds-cars196-{n}" for n in (1, 2, 3)]


def test_a_folder_with_something_in_it_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(FileExistsError, match="nothing is overwritten.*--resume"):
        new_run_folder(str(tmp_path), "glyphs", room=0)
    assert (tmp_path / "thesis.tex").read_text() == "mine"


@pytest.mark.parametrize("name", ["images.csv", "versions.json", "fit.log", "skipped_images.txt"])
@pytest.mark.parametrize("with_state", [False, True])
def test_files_with_the_names_of_a_run_are_not_overwritten(tmp_path, name, with_state):
    (tmp_path / name).write_text("mine")
    if with_state:
        (tmp_path / "state").mkdir()
        (tmp_path / "state" / "lock").touch()
    with pytest.raises(FileExistsError, match="nothing is overwritten.*--resume"):
        new_run_folder(str(tmp_path), "glyphs", room=0)
    assert (tmp_path / name).read_text() == "mine"


def test_a_file_in_its_place_is_refused(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(FileExistsError, match="--run-dir"):
        new_run_folder(str(tmp_path / "run"), "glyphs", room=0)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    # A file as the parent stops even an administrator; permissions would not.
    with pytest.raises(OSError, match="can be written to.*--run-dir"):
        new_run_folder(str(tmp_path / "file" / "run"), "glyphs", room=0)


def test_a_read_only_folder(tmp_path, monkeypatch):
    def refuse(*args, **options):
        raise PermissionError(30, "Read-only file system")

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    with pytest.raises(OSError, match="Read-only file system.*another --run-dir"):
        new_run_folder(str(tmp_path / "run"), "glyphs", room=0)


def test_a_full_disk(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 5 * 10**6))
    with pytest.raises(OSError, match="Expected 200 MB free.*has 5 MB"):
        new_run_folder(str(tmp_path / "run"), "glyphs", room=200 * 10**6)


def test_metrics_without_a_saved_state_are_dropped(tmp_path):
    folder = new_run_folder(str(tmp_path / "run"), "glyphs", room=0)
    folder.metrics.write_text("epoch,loss\n1,3.0\n2,2.0\n3,1.")
    folder.drop_metrics_after(1)
    assert folder.read_metrics() == [{"epoch": 1.0, "loss": 3.0}]
    for _ in range(2):
        folder.drop_metrics_after(0)
        assert folder.read_metrics() == []
    folder.metrics.write_text("")
    folder.drop_metrics_after(1)
    assert folder.read_metrics() == []


def test_there_is_no_such_run(tmp_path):
    for run_dir in (None, str(tmp_path)):
        with pytest.raises(FileNotFoundError, match="config.yaml"):
            existing_run_folder(run_dir)
