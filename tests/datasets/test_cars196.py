import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pa_keras.datasets import cars196, load
from pa_keras.pipelines import check_images

from .official_layouts import write_mat

# Class (from 1, as in the files) and box.
CARS = [
    (1, (3, 5, 30, 20)),
    (1, (1, 1, 40, 30)),
    (2, (10, 10, 10, 10)),
    (3, (5, 5, 50, 40)),
    (4, (2, 2, 8, 9)),
    (4, (2, 2, 8, 9)),
    (5, (2, 2, 8, 9)),
    (5, (2, 2, 8, 9)),
]


def write_annotations(path, names, cars, name_field="fname", **extra):
    rows = [(*box, class_id, name) for name, (class_id, box) in zip(names, cars, strict=True)]
    write_mat(path, rows, name_field, **extra)


def write_photographs(folder, names):
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (len(names), 30, 40, 3), np.uint8)
    # Blocks of 10 pixels survive JPEG compression well enough to show where a crop was cut.
    blocks = pixels[:, ::10, ::10].repeat(10, 1).repeat(10, 2)
    for name, block in zip(names, blocks, strict=True):
        Image.fromarray(block).save(folder / name, quality=95)


@pytest.fixture
def eight_cars(monkeypatch):
    """Replaces the counts of the benchmark by those of `CARS`."""
    monkeypatch.setattr(cars196, "COUNTS", {"training": (3, 4), "test": (2, 4)})


@pytest.fixture
def combined(tmp_path, eight_cars):
    """Writes the layout with one annotation file."""
    names = [f"{i:06}.jpg" for i in range(1, len(CARS) + 1)]
    write_photographs(tmp_path / "cars" / "car_ims", names)
    write_annotations(
        tmp_path / "cars" / "cars_annos.mat",
        [f"car_ims/{name}" for name in names],
        CARS,
        "relative_im_path",
        class_names=np.array([[f"car {i}" for i in range(1, 6)]], object),
    )
    return tmp_path / "cars"


@pytest.fixture
def devkit(tmp_path, eight_cars):
    """Writes the layout of the devkit, whose parts do not follow the classes."""
    for part, cars in (("train", CARS[::2]), ("test", CARS[1::2])):
        names = [f"{i:05}.jpg" for i in range(1, len(cars) + 1)]
        write_photographs(tmp_path / "cars" / f"cars_{part}", names)
        name = "cars_train_annos.mat" if part == "train" else "cars_test_annos_withlabels.mat"
        write_annotations(tmp_path / "cars" / "devkit" / name, names, cars)
    return tmp_path / "cars"


def test_one_annotation_file(combined):
    dataset = load("cars196", str(combined))
    assert dataset.name == "cars196"
    assert dataset.train.class_names == ("car 1", "car 2", "car 3")
    assert dataset.train.labels.tolist() == [0, 0, 1, 2]
    assert dataset.queries.class_names == ("car 4", "car 5")
    assert dataset.queries.labels.tolist() == [0, 0, 1, 1]
    assert dataset.queries.paths[0] == str(combined / "car_ims" / "000005.jpg")
    assert dataset.gallery is None


def test_the_devkit_is_merged_and_split_by_class(devkit):
    dataset = load("cars196", str(devkit))
    assert dataset.train.class_names == ("class 1", "class 2", "class 3")
    assert dataset.queries.class_names == ("class 4", "class 5")
    parts = [Path(path).parent.name for path in dataset.queries.paths]
    assert parts == ["cars_train", "cars_train", "cars_test", "cars_test"]


def test_a_folder_too_high_or_too_low_and_nested_images(devkit):
    expected = load("cars196", str(devkit)).train.paths
    for data_dir in (devkit.parent, devkit / "cars_train", devkit / "devkit"):
        assert load("cars196", str(data_dir)).train.paths == expected
    shutil.move(devkit / "cars_train", devkit / "moved")
    shutil.move(devkit / "moved", devkit / "cars_train" / "cars_train")
    paths = load("cars196", str(devkit)).train.paths
    assert paths[0] == str(devkit / "cars_train" / "cars_train" / "00001.jpg")


def test_the_numbers_of_images_are_checked(combined, monkeypatch):
    monkeypatch.undo()
    message = (
        r"5 of 98 training classes \(93 short\), 8 of 8054 training images \(8046 short\), 0 of 98 "
        r"test classes .* is of class 6, 7, .* 25 and 171 more"
    )
    with pytest.raises(ValueError, match=message):
        load("cars196", str(combined))


def test_missing_images_are_listed(combined):
    (combined / "car_ims" / "000003.jpg").unlink()
    with pytest.raises(FileNotFoundError, match="received 1 paths without a file") as caught:
        load("cars196", str(combined))
    assert "000003.jpg" in str(caught.value)


def test_the_devkits_test_file_without_classes_is_refused(devkit):
    labelled = devkit / "devkit" / "cars_test_annos_withlabels.mat"
    labelled.rename(devkit / "devkit" / "cars_test_annos.mat")
    with pytest.raises(ValueError, match="cars_test_annos.mat, the devkit's, which has no classes"):
        load("cars196", str(devkit))


def test_annotations_that_are_cut_short(combined, devkit):
    for path in (combined / "cars_annos.mat", devkit / "devkit" / "cars_train_annos.mat"):
        whole = path.read_bytes()
        # Except for the end, which may be padding.
        for kept in range(0, len(whole) - 8, 250):
            path.write_bytes(whole[:kept])
            with pytest.raises(ValueError, match=f"(?s)received {path}: .*Fetch it again"):
                load("cars196", str(path.parent))
        path.unlink()


def test_annotations_without_a_field(combined):
    write_mat(combined / "cars_annos.mat", [(1, 1, 5, 5, 1, "a.jpg")], "fname")
    with pytest.raises(ValueError, match="cars_annos.mat; received none called relative_im_path"):
        load("cars196", str(combined))


def test_a_missing_set_says_where_to_get_it(tmp_path, devkit):
    with pytest.raises(FileNotFoundError, match="received no cars_train_annos.mat") as caught:
        load("cars196", str(tmp_path / "nowhere"))
    assert "https://" in str(caught.value)
    assert "car_ims/000001.jpg" in str(caught.value)
    shutil.rmtree(devkit / "cars_test")
    with pytest.raises(FileNotFoundError, match="received no cars_test there"):
        load("cars196", str(devkit))


def test_a_folder_that_may_not_be_read_is_passed_over(combined, monkeypatch):
    scandir = os.scandir
    locked = combined / "lost+found"
    locked.mkdir()

    def guarded(folder):
        if Path(folder) == locked:
            raise PermissionError(f"Permission denied: {folder}")
        return scandir(folder)

    # Permissions would not stop the root user.
    monkeypatch.setattr(os, "scandir", guarded)
    locked.chmod(0)
    try:
        assert len(load("cars196", str(combined)).train) == 4
    finally:
        locked.chmod(0o700)


def test_crops_are_written_once_and_cut_at_the_box(combined, tmp_path, monkeypatch):
    monkeypatch.setenv("PA_KERAS_HOME", str(tmp_path / "cache"))
    whole = load("cars196", str(combined)).train
    crops = load("cars196", str(combined), crop_to_boxes=True).train
    assert crops.labels.tolist() == whole.labels.tolist()
    assert all(path.startswith(str(tmp_path / "cache" / "cars196")) for path in crops.paths)
    for photograph, crop, (_, (x1, y1, x2, y2)) in zip(
        whole.paths, crops.paths, CARS[:4], strict=True
    ):
        expected = np.asarray(Image.open(photograph), int)[y1 - 1 : y2, x1 - 1 : x2]
        received = np.asarray(Image.open(crop), int)
        assert received.shape == expected.shape
        assert np.abs(received - expected).mean() < 12
    times = [os.stat(path).st_mtime_ns for path in crops.paths]
    again = load("cars196", str(combined), crop_to_boxes=True).train
    assert again.paths == crops.paths
    assert [os.stat(path).st_mtime_ns for path in again.paths] == times


@pytest.mark.parametrize("kept", [0, 700])
def test_a_broken_photograph_is_left_to_the_check_of_images(combined, tmp_path, monkeypatch, kept):
    monkeypatch.setenv("PA_KERAS_HOME", str(tmp_path / "cache"))
    photograph = combined / "car_ims" / "000003.jpg"
    whole = photograph.read_bytes()
    photograph.write_bytes(whole[:kept])
    broken = load("cars196", str(combined), crop_to_boxes=True).train
    assert Path(broken.paths[2]).read_bytes() == whole[:kept]
    with pytest.raises(ValueError, match="car_ims_000003.jpg"):
        check_images(broken.paths)
    assert check_images(broken.paths, "skip").good.tolist() == [0, 1, 3]
    photograph.write_bytes(whole)
    repaired = load("cars196", str(combined), crop_to_boxes=True).train
    assert check_images(repaired.paths).good.tolist() == [0, 1, 2, 3]


def test_a_box_outside_of_the_image_is_refused(combined, tmp_path, monkeypatch):
    monkeypatch.setenv("PA_KERAS_HOME", str(tmp_path / "cache"))
    Image.new("RGB", (4, 4)).save(combined / "car_ims" / "000003.jpg")
    with pytest.raises(ValueError, match="000003.jpg of 4 x 4 pixels.*crops already"):
        load("cars196", str(combined), crop_to_boxes=True)
    assert not list((tmp_path / "cache" / "cars196").iterdir())


def test_an_entry_without_its_class(combined):
    names = [f"car_ims/{i:06}.jpg" for i in range(1, len(CARS) + 1)]
    cars = [(np.zeros(0), box) if i == 2 else (c, box) for i, (c, box) in enumerate(CARS)]
    write_annotations(combined / "cars_annos.mat", names, cars, "relative_im_path")
    with pytest.raises(ValueError, match="class and box of entry 3, 000003.jpg, of .*annos.mat"):
        load("cars196", str(combined))


def test_names_that_are_not_one_for_each_class(combined):
    names = [f"car_ims/{i:06}.jpg" for i in range(1, len(CARS) + 1)]
    few = {"class_names": np.array([["one", "two"]], object)}
    write_annotations(combined / "cars_annos.mat", names, CARS, "relative_im_path", **few)
    with pytest.raises(ValueError, match="a name for each class of Cars-196 .*received 2"):
        load("cars196", str(combined))


def test_the_combined_file_without_its_images(combined):
    (combined / "car_ims").rename(combined.parent / "elsewhere_ims")
    with pytest.raises(FileNotFoundError, match="received no car_ims there"):
        load("cars196", str(combined))


def test_crops_need_boxes(combined):
    (combined / "manifest.csv").write_text("path,label\n")
    with pytest.raises(ValueError, match="which has no boxes"):
        load("cars196", str(combined), crop_to_boxes=True)
    for name in ("folder", "cars196"):
        with pytest.raises(ValueError, match="crop_to_boxes with cars196 and a data_dir"):
            load(name, crop_to_boxes=True)


@pytest.mark.parametrize("combined_file", [False, True])
def test_the_official_files_give_the_benchmarks_split(tmp_path, combined_file):
    data = os.environ.get("PA_KERAS_DATA")
    if not data:
        pytest.skip("PA_KERAS_DATA, the folder of the shared data, is not set")
    official = Path(data) / "annotations" / "cars196"
    for part in ("cars_train", "cars_test", "car_ims"):
        (tmp_path / part).mkdir()
    if combined_file:
        (tmp_path / "cars_annos.mat").symlink_to(official / "cars_annos.mat")
        # This file has its own image numbers; the content of the photographs does not matter here.
        for i in range(1, 16_186):
            (tmp_path / "car_ims" / f"{i:06}.jpg").touch()
    else:
        for name in ("cars_train_annos.mat", "cars_test_annos_withlabels.mat", "cars_meta.mat"):
            (tmp_path / name).symlink_to(official / name)
        for crop in Path(data, "cars196", "images").glob("*/*.jpg"):
            part, number = crop.stem.split("_")
            (tmp_path / f"cars_{part}" / f"{number}.jpg").symlink_to(crop)
    dataset = load("cars196", str(tmp_path))
    assert (len(dataset.train), dataset.train.num_classes) == (8054, 98)
    assert (len(dataset.queries), dataset.queries.num_classes) == (8131, 98)
    shared = load("manifest", f"{data}/cars196")
    assert dataset.train.class_names == shared.train.class_names
    if not combined_file:
        for ours, theirs in ((dataset.train, shared.train), (dataset.queries, shared.queries)):
            names = [
                path.removeprefix(f"{tmp_path}/cars_").replace("/", "_") for path in ours.paths
            ]
            expected = zip(map(os.path.basename, theirs.paths), theirs.labels, strict=True)
            assert dict(zip(names, ours.labels, strict=True)) == dict(expected)
