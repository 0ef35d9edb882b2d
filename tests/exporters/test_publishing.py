"""Where exports go: nothing half written, nothing overwritten."""

import pytest

from pa_keras.exporters.publishing import ExportPlace, publish, staging


def export(place, content):
    with staging(place) as staged:
        staged.saved_model.mkdir()
        (staged.saved_model / "saved_model.pb").write_text(content)
        (staged.files / "model.onnx").write_text(content)
        publish(staged, place)


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
        "cars-1/model.onnx", "cars-2/model.onnx", "cars/1/saved_model.pb", "cars/2/saved_model.pb",
    ]  # fmt: skip
    assert {each.name for each in (tmp_path / "out").iterdir()} == {"cars", "cars-1", "cars-2"}


def test_without_a_saved_model(tmp_path):
    place = ExportPlace(tmp_path, "cars", 1)
    with staging(place) as staged:
        (staged.files / "model.onnx").write_text("a")
        publish(staged, place)
    assert tree(tmp_path) == ["cars-1/model.onnx"]


def test_force_replaces(tmp_path):
    place = ExportPlace(tmp_path, "cars", 1)
    export(place, "old")
    place.expect_new(force=True)
    export(place, "new")
    assert (place.saved_model / "saved_model.pb").read_text() == "new"
    assert tree(tmp_path) == ["cars-1/model.onnx", "cars/1/saved_model.pb"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_interrupted_export_leaves_nothing(tmp_path, error):
    place = ExportPlace(tmp_path, "cars", 1)
    export(place, "old")
    with pytest.raises(error), staging(place) as staged:
        (staged.files / "half").write_text("a")
        raise error
    assert tree(tmp_path) == ["cars-1/model.onnx", "cars/1/saved_model.pb"]


def test_an_existing_version_is_refused_with_the_next_number(tmp_path):
    export(ExportPlace(tmp_path, "cars", 1), "a")
    export(ExportPlace(tmp_path, "cars", 7), "a")
    (tmp_path / "cars-of-others").mkdir()
    with pytest.raises(FileExistsError, match=r"Give --version 8, or --force"):
        ExportPlace(tmp_path, "cars", 1).expect_new()
    ExportPlace(tmp_path, "cars", 8).expect_new()
    ExportPlace(tmp_path, "ships", 1).expect_new()


@pytest.mark.parametrize("name", ["", "a/b", "..", ".cars"])
def test_names_that_are_no_folder(tmp_path, name):
    with pytest.raises(ValueError, match="without slashes or a leading dot"):
        ExportPlace(tmp_path, name, 1).expect_new()


def test_versions_begin_at_one(tmp_path):
    with pytest.raises(ValueError, match="version of 1 or more; received 0"):
        ExportPlace(tmp_path, "cars", 0).expect_new()
