"""Publishing exports: nothing is incomplete, nothing is overwritten."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from pa_keras.exporters import publishing
from pa_keras.exporters.publishing import ExportPlace, exchange, publish, staging


def export(place, content, force=False, served=True):
    with staging(place) as staged:
        if served:
            staged.saved_model.mkdir()
            (staged.saved_model / "saved_model.pb").write_text(content)
        (staged.files / "model.onnx").write_text(content)
        publish(staged, place, force)


def test_nothing_is_there_before_it_is_published(tmp_path):
    place = ExportPlace(tmp_path, "cars", 1)
    with staging(place) as staged:
        (staged.files / "model.onnx").write_text("a")
        assert not place.files.exists() and not place.saved_model.exists()
        assert not [each for each in tmp_path.iterdir() if not each.name.startswith(".")]


def tree(folder):
    """Returns the paths of all files, also through links."""
    found = []
    for root, _, files in os.walk(folder, followlinks=True):
        found += [str(Path(root, file).relative_to(folder)) for file in files]
    return sorted(found)


KINDS = [(True, True), (True, False), (False, True), (False, False)]  # old and new, served
ONE = ["cars.files/1/model.onnx", "cars/1/assets.extra/files/model.onnx", "cars/1/saved_model.pb"]


def test_a_version_appears_complete_beside_others(tmp_path):
    for version in (1, 2):
        export(ExportPlace(tmp_path / "out", "cars", version), "a")
    assert tree(tmp_path / "out") == [
        "cars.files/1/model.onnx", "cars.files/2/model.onnx",
        "cars/1/assets.extra/files/model.onnx", "cars/1/saved_model.pb",
        "cars/2/assets.extra/files/model.onnx", "cars/2/saved_model.pb",
    ]  # fmt: skip
    assert {each.name for each in (tmp_path / "out").iterdir()} == {"cars", "cars.files"}


def test_without_a_saved_model(tmp_path):
    place = ExportPlace(tmp_path, "cars", 1)
    with staging(place) as staged:
        (staged.files / "model.onnx").write_text("a")
        publish(staged, place)
    assert tree(tmp_path) == ["cars.files/1/model.onnx"]


def test_force_replaces(tmp_path):
    place = ExportPlace(tmp_path, "cars", 1)
    export(place, "old")
    export(place, "new", force=True)
    assert (place.saved_model / "saved_model.pb").read_text() == "new"
    assert tree(tmp_path) == ONE


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_interrupted_export_leaves_nothing(tmp_path, error):
    place = ExportPlace(tmp_path, "cars", 1)
    export(place, "old")
    with pytest.raises(error), staging(place) as staged:
        (staged.files / "half").write_text("a")
        raise error
    assert tree(tmp_path) == ONE


def test_an_existing_version_is_refused_with_the_next_number(tmp_path):
    export(ExportPlace(tmp_path, "cars", 1), "a")
    export(ExportPlace(tmp_path, "cars", 7), "a")
    (tmp_path / "cars" / "9-backup").mkdir()
    with pytest.raises(FileExistsError, match=r"Give --version 8, or --force"):
        ExportPlace(tmp_path, "cars", 1).expect_new()
    ExportPlace(tmp_path, "cars", 8).expect_new()
    ExportPlace(tmp_path, "ships", 1).expect_new()


def test_another_export_of_this_version_meanwhile(tmp_path):
    place = ExportPlace(tmp_path, "cars", 1)
    with staging(place) as staged:
        (staged.files / "model.onnx").write_text("late")
        export(place, "early")
        with pytest.raises(FileExistsError, match="exists already"):
            publish(staged, place)
    assert (place.files / "model.onnx").read_text() == "early"


def test_names_do_not_share_folders(tmp_path):
    for name in ("cars", "cars-1", "cars-files"):
        export(ExportPlace(tmp_path, name, 1), name)
    export(ExportPlace(tmp_path, "cars", 1), "new", force=True)
    for name in ("cars-1", "cars-files"):
        assert (ExportPlace(tmp_path, name, 1).files / "model.onnx").read_text() == name


def everything(folder):
    """Returns every path with its contents or the target of its link."""
    return {
        str(path.relative_to(folder)): path.readlink() if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


@pytest.fixture(params=[True, False], ids=["exchange", "rename"])
def can_exchange(request, monkeypatch):
    if not request.param:
        monkeypatch.setattr(publishing, "exchange", lambda one, other: False)


@pytest.mark.usefixtures("can_exchange")
@pytest.mark.parametrize("served", KINDS)
def test_any_formats_replace_any_others(tmp_path, served):
    place = ExportPlace(tmp_path, "cars", 1)
    export(place, "old", served=served[0])
    export(place, "new", force=True, served=served[1])
    assert tree(tmp_path) == (ONE if served[1] else ONE[:1])
    assert {path.read_text() for path in tmp_path.rglob("*") if path.is_file()} == {"new"}
    assert {each.name for each in tmp_path.iterdir()} == {"cars", "cars.files"}


@pytest.mark.usefixtures("can_exchange")
def test_an_export_of_an_earlier_release_is_replaced(tmp_path):
    place = ExportPlace(tmp_path, "cars", 1)
    for folder in (place.saved_model, place.files):  # two folders
        folder.mkdir(parents=True)
        (folder / "old").write_text("old")
    with pytest.raises(FileExistsError):
        place.expect_new()
    export(place, "new", force=True)
    assert tree(tmp_path) == ONE


@pytest.mark.parametrize("there", ["version", "nothing"])
@pytest.mark.parametrize("failing", range(1, 9))
@pytest.mark.parametrize("served", KINDS)
def test_a_failed_move_leaves_all_as_it_was(tmp_path, monkeypatch, failing, served, there):
    place = ExportPlace(tmp_path, "cars", 1)
    if there == "version":
        export(place, "old", served=served[0])
    before = everything(tmp_path)
    rename, calls = Path.rename, []

    def interrupted(self, target):
        calls.append(target)
        if len(calls) == failing:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(publishing, "exchange", lambda one, other: False)
    monkeypatch.setattr(Path, "rename", interrupted)
    try:
        export(place, "new", force=True, served=served[1])
    except KeyboardInterrupt:
        assert everything(tmp_path) == before
    else:
        assert len(calls) < failing
    assert not list(tmp_path.glob(".export-*"))


def test_a_link_whose_model_was_deleted_is_no_version(tmp_path):
    place = ExportPlace(tmp_path, "cars", 1)
    export(place, "old")
    (place.saved_model / "saved_model.pb").unlink()
    place.saved_model.rename(tmp_path / "elsewhere")
    export(place, "new")
    assert (place.files / "model.onnx").read_text() == "new"


def test_a_foreign_link_is_a_version(tmp_path):
    place = ExportPlace(tmp_path, "cars", 1)
    place.files.parent.mkdir()
    place.files.symlink_to("nowhere")
    with pytest.raises(FileExistsError, match="exists already"):
        export(place, "new")


def test_without_links_there_are_two_folders(tmp_path, monkeypatch):
    def refused(self, target):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(Path, "symlink_to", refused)
    place = ExportPlace(tmp_path, "cars", 1)
    for content, force in (("old", False), ("new", True)):
        export(place, content, force)
        assert tree(tmp_path) == [ONE[0], ONE[2]]
        assert (place.files / "model.onnx").read_text() == content


def test_an_exchange_swaps_files_folders_and_links(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    if not exchange(tmp_path / "folder", tmp_path / "link"):
        pytest.skip("this file system cannot exchange")
    assert (tmp_path / "link").is_dir() and (tmp_path / "folder").readlink() == Path("nowhere")
    with pytest.raises(FileNotFoundError):
        exchange(tmp_path / "folder", tmp_path / "missing")


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EINVAL])
def test_a_kernel_or_a_file_system_that_cannot_exchange(tmp_path, monkeypatch, number):
    class Library:
        def renameat2(self, *arguments):
            publishing.ctypes.set_errno(number)
            return -1

    monkeypatch.setattr(publishing.ctypes, "CDLL", lambda *a, **k: Library())
    assert exchange(tmp_path, tmp_path) is False
    monkeypatch.setattr(publishing.ctypes, "CDLL", lambda *a, **k: object())
    assert exchange(tmp_path, tmp_path) is False


WATCHER = """
    import sys
    from pathlib import Path

    out = Path(sys.argv[1])
    model, card = out / "cars/1/saved_model.pb", out / "cars.files/1/model.onnx"
    print("ready", flush=True)
    looks, missing, mixed = 0, 0, 0
    while not (out / "stop").exists():
        looks += 1
        try:
            first, of_model, again = card.read_text(), model.read_text(), card.read_text()
        except FileNotFoundError:
            missing += 1
        else:
            mixed += first == again != of_model
    print(looks, missing, mixed)
"""


def test_a_watcher_never_sees_a_version_missing_or_mixed(tmp_path):
    place = ExportPlace(tmp_path, "cars", 1)
    export(place, "0")
    (tmp_path / "a").touch()
    (tmp_path / "b").touch()
    if not exchange(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this file system cannot exchange")
    command = [sys.executable, "-c", textwrap.dedent(WATCHER), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watcher:
        watcher.stdout.readline()
        for number in range(1, 201):
            export(place, str(number), force=True)
        (tmp_path / "stop").touch()
        looks, missing, mixed = map(int, watcher.stdout.read().split())
    assert looks > 100
    assert (missing, mixed) == (0, 0)


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from pa_keras.exporters import publishing
    from pa_keras.exporters.publishing import ExportPlace, publish, staging

    rename, calls = Path.rename, []

    def killed(self, target):
        calls.append(target)
        if len(calls) == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(self, target)

    Path.rename = killed
    publishing.exchange = lambda one, other: False
    place = ExportPlace(Path(sys.argv[1]), "cars", 1)
    with staging(place) as staged:
        staged.saved_model.mkdir()
        (staged.saved_model / "saved_model.pb").write_text("new")
        (staged.files / "model.onnx").write_text("new")
        publish(staged, place, True)
"""


@pytest.mark.parametrize("moves", [3, 4, 5])  # before, before the old one moves, after it moved
def test_the_next_export_cleans_up_after_a_killed_one(tmp_path, moves):
    place = ExportPlace(tmp_path, "cars", 1)
    export(place, "old")
    before = everything(tmp_path)
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path), str(moves)]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    assert list(tmp_path.glob(".export-*"))
    assert place.saved_model.exists() == (moves < 5)
    export(ExportPlace(tmp_path, "ships", 1), "a")
    assert not list(tmp_path.glob(".export-*"))
    found = everything(tmp_path)
    assert before.items() <= found.items()
    assert {name for name in found.keys() - before.keys() if not name.startswith("ships")} == set()


def test_only_what_is_ours_is_deleted(tmp_path):
    place = ExportPlace(tmp_path, "cars", 1)
    foreign = {
        ".export-notes/new/mine": "mine",
        ".export-mine/staging.txt": "my staging host",
        ".export-mine/new/mine": "mine",
        "cars/.replaced-1/mine": "mine",
        "cars.files/.replaced-1/mine": "mine",
    }
    for name, content in foreign.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    with staging(place) as staged:
        (staged.files / "model.onnx").write_text("a")
        export(ExportPlace(tmp_path, "ships", 1), "b")  # meanwhile
        publish(staged, place)
    assert {name: (tmp_path / name).read_text() for name in foreign} == foreign
    assert (place.files / "model.onnx").read_text() == "a"
    assert len(list(tmp_path.glob(".export-*"))) == 2


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        RuntimeError("while writing saved_model.pb; No space left on device\n\tat file.cc"),
    ],
)
def test_a_full_disk_leaves_nothing_and_says_what_to_do(tmp_path, error):
    with (
        pytest.raises(OSError, match=r"No space left on device.*Free some space") as raised,
        staging(ExportPlace(tmp_path, "cars", 1)) as staged,
    ):
        (staged.files / "half").write_text("a")
        raise error
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", ["out", "out/cars", "out/cars.files"])
def test_a_file_where_a_folder_should_be(tmp_path, path):
    (tmp_path / path).parent.mkdir(exist_ok=True)
    (tmp_path / path).write_text("a file")
    with pytest.raises(NotADirectoryError, match=f"{path} is a file"):
        ExportPlace(tmp_path / "out", "cars", 1).expect_new()


@pytest.mark.parametrize("name", ["", "a/b", "..", ".cars", "a.files", "a b", "a:b", "é"])
def test_names_that_do_not_fit_a_url(tmp_path, name):
    with pytest.raises(ValueError, match="letters, digits, _ and -"):
        ExportPlace(tmp_path, name, 1).expect_new()


def test_versions_begin_at_one(tmp_path):
    with pytest.raises(ValueError, match="version of 1 or more; received 0"):
        ExportPlace(tmp_path, "cars", 0).expect_new()
