"""Tests that apply to the official layouts of all benchmarks."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pa_keras.datasets import load
from pa_keras.datasets._official_folders import folders_near

from .official_layouts import small_counts, write_cars196, write_cub200, write_inshop, write_sop

WRITERS = {
    "cars196": write_cars196,
    "cub200": write_cub200,
    "sop": write_sop,
    "inshop": write_inshop,
}
SOURCES = {
    "cars196": "https://www.kaggle.com/datasets/jessicali9530/stanford-cars-dataset",
    "cub200": "https://www.vision.caltech.edu/datasets/cub_200_2011/",
    "sop": "https://cvgl.stanford.edu/projects/lifted_struct/",
    "inshop": "https://mmlab.ie.cuhk.edu.hk/projects/DeepFashion/InShopRetrieval.html",
}
# For each set: a file, a folder of images, and another folder that a user may give.
INSIDE = {
    "cars196": ("devkit/cars_train_annos.mat", "cars_train", "devkit"),
    "cub200": ("images.txt", "images", "images/001.Grey_Bird_1"),
    "sop": ("Ebay_train.txt", "bicycle_final", "toaster_final"),
    "inshop": ("Eval/list_eval_partition.txt", "Img/img", "Eval"),
}
TABLES = [
    ("cub200", "images.txt"),
    ("cub200", "image_class_labels.txt"),
    ("cub200", "classes.txt"),
    ("sop", "Ebay_train.txt"),
    ("sop", "Ebay_test.txt"),
    ("inshop", "Eval/list_eval_partition.txt"),
]


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Writes a small set that the loaders accept as complete; returns its folder."""

    def write(name, **sizes):
        small_counts(monkeypatch, **sizes)
        return WRITERS[name](tmp_path / "disk" / "sets" / "set", **sizes)

    return write


@pytest.mark.parametrize("name", WRITERS)
def test_the_parts_are_whole_and_of_other_classes(written, name):
    root = written(name)
    dataset = load(name, str(root))
    assert dataset.name == name
    searched = [dataset.queries] + [dataset.gallery] * (dataset.gallery is not None)
    assert len(dataset.train) == sum(map(len, searched)) == 12
    for images in (dataset.train, *searched):
        assert images.num_classes == 4
        assert set(images.labels.tolist()) == {0, 1, 2, 3}
    assert not {*dataset.train.class_names} & {*dataset.queries.class_names}
    paths = [path for images in (dataset.train, *searched) for path in images.paths]
    assert len(set(paths)) == 24
    assert sorted(paths) == sorted(map(str, [*root.rglob("*.jpg"), *root.rglob("*.JPG")]))


@pytest.mark.parametrize("name", WRITERS)
def test_images_of_a_class_look_alike_and_others_differ(written, name):
    train = load(name, str(written(name))).train
    colours = np.array([np.asarray(Image.open(path), float).mean((0, 1)) for path in train.paths])
    distances = np.linalg.norm(colours[:, None] - colours[None], axis=-1)
    same = train.labels[:, None] == train.labels[None]
    assert distances[same].max() < distances[~same].min()


@pytest.mark.parametrize("name", WRITERS)
def test_a_folder_too_high_or_too_low_or_a_file_of_the_set(written, name):
    root = written(name)
    expected = load(name, str(root))
    for data_dir in (root.parent, *(root / inside for inside in INSIDE[name])):
        found = load(name, str(data_dir))
        assert found.train.paths == expected.train.paths
        assert found.queries.paths == expected.queries.paths


@pytest.mark.parametrize("name", WRITERS)
def test_a_missing_set_says_where_to_get_it(written, tmp_path, name):
    (tmp_path / "empty").mkdir()
    for data_dir in (tmp_path / "empty", tmp_path / "nowhere"):
        with pytest.raises(FileNotFoundError, match=f"in {data_dir}; received no ") as caught:
            load(name, str(data_dir))
        assert SOURCES[name] in str(caught.value)
        assert f"\n    {data_dir}/\n" in str(caught.value)


@pytest.mark.parametrize("name", WRITERS)
def test_a_set_near_by_is_suggested(written, tmp_path, name):
    root = written(name)
    for data_dir in (tmp_path, root.parent / "sett"):
        with pytest.raises(FileNotFoundError, match=rf"Did you mean --data-dir {root}[/?]"):
            load(name, str(data_dir))


@pytest.mark.parametrize("name", ["sop", "inshop"])
def test_sets_that_have_to_be_fetched_by_hand(name):
    with pytest.raises(ValueError, match=f"--dataset {name} --data-dir PATH") as caught:
        load(name)
    assert SOURCES[name] in str(caught.value)
    assert "\n    PATH/\n" in str(caught.value)


@pytest.mark.parametrize("name", WRITERS)
def test_missing_images_are_counted_and_at_most_twenty_named(written, name):
    root = written(name, images=6)
    images = sorted([*root.rglob("*.jpg"), *root.rglob("*.JPG")])
    for path in images[:-1:2]:
        path.unlink()
    # A folder is not an image either.
    images[1].unlink()
    images[1].mkdir()
    with pytest.raises(FileNotFoundError, match="the 48 images .* received 25 paths") as caught:
        load(name, str(root))
    assert str(caught.value).count("\n    /") == 20
    assert "... and 5 more" in str(caught.value)
    assert "manifest.csv" in str(caught.value)


@pytest.mark.parametrize("name", WRITERS)
def test_a_missing_folder_of_images_is_named(written, name):
    root = written(name)
    folder = root / INSIDE[name][1]
    shutil.rmtree(folder)
    with pytest.raises(FileNotFoundError, match=folder.name):
        load(name, str(root))


@pytest.mark.parametrize("name", WRITERS)
def test_other_numbers_than_the_benchmarks_are_refused(written, monkeypatch, name):
    root = written(name)
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"received 8? ?.*images \(\d+ short\).*") as caught:
        load(name, str(root))
    assert "--dataset manifest" in str(caught.value)
    assert name == "inshop" or "No image is of class 9, 10, 11, 12, 13, " in str(caught.value)


def test_too_many_images_are_refused(written, monkeypatch):
    root = written("sop")
    small_counts(monkeypatch, images=2)
    with pytest.raises(ValueError, match=r"12 of 8 training images \(4 too many\), 12 of 8 test"):
        load("sop", str(root))


@pytest.mark.parametrize(("name", "file"), TABLES)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_line_ends_and_marks_of_windows(written, name, file, mark):
    root = written(name)
    expected = load(name, str(root))
    contents = (root / file).read_bytes()
    (root / file).write_bytes(mark + contents.replace(b"\n", b"\r\n") + b"\r\n \r\n")
    found = load(name, str(root))
    assert found.train.paths == expected.train.paths
    assert found.queries.labels.tolist() == expected.queries.labels.tolist()
    assert found.queries.class_names == expected.queries.class_names


@pytest.mark.parametrize(("name", "file"), TABLES)
def test_a_file_cut_anywhere_in_its_last_line(written, name, file):
    # With twelve classes, a truncated class ID may be that of another class.
    root = written(name, classes=12, images=2)
    contents = (root / file).read_text()
    start = contents.rindex("\n", 0, -1) + 1
    for end in range(start + 1, len(contents) - 1):
        (root / file).write_text(contents[:end])
        with pytest.raises(ValueError, match=r"in line \d+ of .*cut short") as caught:
            load(name, str(root))
        assert Path(file).name in str(caught.value)


@pytest.mark.parametrize(("name", "file"), TABLES)
def test_a_file_cut_between_lines(written, name, file):
    root = written(name)
    lines = (root / file).read_text().splitlines(keepends=True)
    (root / file).write_text("".join(lines[:-1]))
    message = {
        "images.txt": "received 1 that images.txt does not have: 24",
        "image_class_labels.txt": "received 1 that image_class_labels.txt does not have: 24",
        "classes.txt": "received 1 that classes.txt does not have: 8",
        "Ebay_train.txt": r"received 11 of 12 training images \(1 short\)",
        "Ebay_test.txt": r"received 11 of 12 test images \(1 short\)",
        "list_eval_partition.txt": "as its first line says, 24; received 23",
    }
    with pytest.raises(ValueError, match=message[Path(file).name]):
        load(name, str(root))


@pytest.mark.parametrize(("name", "file"), TABLES)
def test_files_that_are_no_table(written, name, file):
    root = written(name)
    for contents, message in (
        (b"", "received an empty file"),
        (b"\r\n \n", "received an empty file"),
        (b"\xff\xd8\xff\xe0", "Expected a text file in UTF-8"),
        (b"1 2 3 4 5 6\n" * 3, "Expected .* columns.* in line [12] of"),
        (b"<html>not found</html>", "Expected .* in line [12] of"),
    ):
        (root / file).write_bytes(contents)
        with pytest.raises(ValueError, match=message) as caught:
            load(name, str(root))
        assert str(root / file) in str(caught.value)


def test_folders_of_a_storage_system_are_not_searched(tmp_path):
    for name in ("@eaDir", "lost+found", "set"):
        (tmp_path / name).mkdir()
    assert [*folders_near(tmp_path)] == [tmp_path, tmp_path / "set"]


def test_a_folder_that_may_not_be_read_is_passed_over(tmp_path, monkeypatch):
    scandir = os.scandir
    (tmp_path / "locked").mkdir()

    def guarded(folder):
        if Path(folder).name == "locked":
            raise PermissionError(f"Permission denied: {folder}")
        return scandir(folder)

    # Permissions would not stop the root user.
    monkeypatch.setattr(os, "scandir", guarded)
    (tmp_path / "set").mkdir()
    assert [*folders_near(tmp_path)] == [tmp_path, tmp_path / "locked", tmp_path / "set"]
    assert [*folders_near(tmp_path / "nowhere")] == [tmp_path / "nowhere"]
