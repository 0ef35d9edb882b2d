"""Where exports go: nothing half written, nothing overwritten."""

from pathlib import Path

import pytest

from pa_keras.exporters.publishing import ExportPlace, publish, staging


def export(place, content, force=False):
    with staging(place) as staged:
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
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_version_appears_whole_beside_others(tmp_path):
    for version in (1, 2):
        export(ExportPlace(tmp_path / "out", "cars", version), "a")
    assert tree(tmp_path / "out") == [
        "cars.files/1/model.onnx", "cars.files/2/model.onnx", "cars/1/saved_model.pb",
        "cars/2/saved_model.pb",
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
    assert tree(tmp_path) == ["cars.files/1/model.onnx", "cars/1/saved_model.pb"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_interrupted_export_leaves_nothing(tmp_path, error):
    place = ExportPlace(tmp_path, "cars", 1)
    export(place, "old")
    with pytest.raises(error), staging(place) as staged:
        (staged.files / "half").write_text("a")
        raise error
    assert tree(tmp_path) == ["cars.files/1/model.onnx", "cars/1/saved_model.pb"]


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
        with pytest.raises(FileExistsError, match="is there already"):
            publish(staged, place)
    assert (place.files / "model.onnx").read_text() == "early"


def test_names_do_not_share_folders(tmp_path):
    for name in ("cars", "cars-1", "cars-files"):
        export(ExportPlace(tmp_path, name, 1), name)
    export(ExportPlace(tmp_path, "cars", 1), "new", force=True)
    for name in ("cars-1", "cars-files"):
        assert (ExportPlace(tmp_path, name, 1).files / "model.onnx").read_text() == name


@pytest.mark.parametrize("failing", [1, 2, 3, 4])
def test_a_failed_replacement_puts_the_old_one_back(tmp_path, monkeypatch, failing):
    place = ExportPlace(tmp_path, "cars", 1)
    export(place, "old")
    rename, calls = Path.rename, []

    def interrupted(self, target):
        calls.append(target)
        if len(calls) == failing:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(place, "new", force=True)
    assert tree(tmp_path) == ["cars.files/1/model.onnx", "cars/1/saved_model.pb"]
    assert (place.saved_model / "saved_model.pb").read_text() == "old"
    assert (place.files / "model.onnx").read_text() == "old"


@pytest.mark.parametrize("failing", [1, 2])
def test_a_failed_first_export_leaves_no_half(tmp_path, monkeypatch, failing):
    place = ExportPlace(tmp_path, "cars", 1)
    rename, calls = Path.rename, []

    def interrupted(self, target):
        calls.append(target)
        if len(calls) == failing:
            raise OSError("no space left")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(OSError, match="no space left"):
        export(place, "new")
    assert tree(tmp_path) == []
    export(place, "again")
    assert (place.saved_model / "saved_model.pb").read_text() == "again"


def test_what_a_killed_export_left_is_in_nobodys_way(tmp_path):
    place = ExportPlace(tmp_path, "cars", 1)
    export(place, "old")
    for folder in (place.saved_model.parent, place.files.parent):
        (folder / ".replaced-1").mkdir()
        (folder / ".replaced-1" / "older").write_text("a")
    export(place, "new", force=True)
    assert tree(tmp_path) == ["cars.files/1/model.onnx", "cars/1/saved_model.pb"]
    assert (place.saved_model / "saved_model.pb").read_text() == "new"


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
