import os
from pathlib import Path

import pytest
from PIL import Image

from pa_keras.datasets import load

from .official_layouts import small_counts, write_cub200


@pytest.fixture
def birds(tmp_path, monkeypatch):
    small_counts(monkeypatch)
    return write_cub200(tmp_path / "CUB_200_2011")


def change(path, line, new):
    lines = path.read_text().splitlines()
    lines[line - 1] = new
    path.write_text("\n".join(lines))


def test_the_first_classes_train_and_the_official_flag_is_ignored(birds):
    dataset = load("cub200", str(birds))
    names = ("001.Grey_Bird_1", "002.Grey_Bird_2", "003.Grey_Bird_3", "004.Grey_Bird_4")
    assert dataset.train.class_names == names
    assert dataset.train.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert dataset.train.paths[4] == str(birds / "images" / names[1] / "Grey_Bird_2_0001_7002.jpg")
    assert dataset.queries.class_names[0] == "005.Grey_Bird_5"
    assert dataset.gallery is None


def test_the_order_of_the_lines_is_of_no_matter(birds):
    expected = load("cub200", str(birds))
    for name in ("image_class_labels.txt", "classes.txt"):
        lines = (birds / name).read_text().splitlines()
        (birds / name).write_text("\n".join(reversed(lines)))
    found = load("cub200", str(birds))
    assert found.train.paths == expected.train.paths
    assert found.train.labels.tolist() == expected.train.labels.tolist()
    assert found.queries.class_names == expected.queries.class_names


def test_ids_that_another_file_lacks(birds):
    change(birds / "images.txt", 3, "77 001.Grey_Bird_1/Grey_Bird_1_0002_7001.jpg")
    with pytest.raises(
        ValueError, match="received 1 that image_class_labels.txt does not have: 77"
    ):
        load("cub200", str(birds))
    change(birds / "image_class_labels.txt", 3, "77 300")
    with pytest.raises(ValueError, match="received 1 that classes.txt does not have: 300"):
        load("cub200", str(birds))


def test_an_id_that_is_there_twice(birds):
    change(birds / "image_class_labels.txt", 3, "2 1")
    with pytest.raises(
        ValueError, match="each image_id once in .*labels.txt; received 2 again in l"
    ):
        load("cub200", str(birds))


def test_an_image_that_is_there_twice(birds):
    change(birds / "images.txt", 3, "3 001.Grey_Bird_1/Grey_Bird_1_0001_7001.jpg")
    with pytest.raises(ValueError, match="received again /.*Grey_Bird_1_0001_7001.jpg"):
        load("cub200", str(birds))


def test_a_class_that_is_not_the_folders(birds):
    change(birds / "image_class_labels.txt", 3, "3 8")
    message = "image 3 .* 001.Grey_Bird_1; received class 8, 008.Grey_Bird_8, in line 3 of .*labels"
    with pytest.raises(ValueError, match=message):
        load("cub200", str(birds))


def test_absent_classes_are_named(birds):
    for name in ("images.txt", "image_class_labels.txt"):
        lines = (birds / name).read_text().splitlines()
        (birds / name).write_text("\n".join(lines[:6] + lines[9:]))
    with pytest.raises(ValueError, match=r"3 of 4 training classes .*9 of 12 .* of class 3\. "):
        load("cub200", str(birds))
    for name in ("images.txt", "image_class_labels.txt"):
        lines = (birds / name).read_text().splitlines()
        (birds / name).write_text("\n".join(lines[:6]))
    with pytest.raises(ValueError, match=r"0 of 12 test images .* of class 3, 4, 5, 6, 7, 8\. "):
        load("cub200", str(birds))


@pytest.mark.parametrize("part", ["images.txt", "classes.txt", "images"])
def test_a_missing_part(birds, part):
    (birds / part).rename(birds / "elsewhere")
    with pytest.raises(FileNotFoundError, match=f"received no {part} there"):
        load("cub200", str(birds))


def test_the_official_files_give_the_benchmarks_split(tmp_path):
    data = os.environ.get("PA_KERAS_DATA")
    if not data:
        pytest.skip("PA_KERAS_DATA, the folder of the shared data, is not set")
    for path in Path(data, "annotations", "cub200").glob("*.txt"):
        (tmp_path / path.name).symlink_to(path)
    Image.new("RGB", (8, 8)).save(tmp_path / "bird.jpg")
    for line in (tmp_path / "images.txt").read_text().splitlines():
        path = tmp_path / "images" / line.split()[1]
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(tmp_path / "bird.jpg", path)
    dataset = load("cub200", str(tmp_path))
    assert (len(dataset.train), dataset.train.num_classes) == (5864, 100)
    assert (len(dataset.queries), dataset.queries.num_classes) == (5924, 100)
    assert dataset.train.class_names[0] == "001.Black_footed_Albatross"
    assert dataset.queries.class_names[-1] == "200.Common_Yellowthroat"
    for images in (dataset.train, dataset.queries):
        folders = [Path(path).parent.name for path in images.paths]
        assert folders == [images.class_names[label] for label in images.labels]
