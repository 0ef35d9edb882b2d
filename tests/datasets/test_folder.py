import logging
import os
from pathlib import Path

import pytest

from pa_keras.datasets import folder_images, images_at, load


def write_tree(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return str(root)


def classes(num_classes, images=2):
    return [f"c{c}/{i}.jpg" for c in range(num_classes) for i in range(images)]


def relative(images, root):
    return [str(Path(path).relative_to(root)) for path in images.paths]


def test_the_first_half_of_the_classes_is_for_training(tmp_path):
    data_dir = write_tree(tmp_path, *(f"c{c}/{i}.jpg" for c in (8, 9, 10, 11) for i in (2, 10)))
    dataset = load("folder", data_dir)
    assert dataset.name == tmp_path.name
    assert dataset.gallery is None
    assert dataset.train.class_names == ("c8", "c9")
    assert relative(dataset.queries, tmp_path) == ["c10/2.jpg", "c10/10.jpg", "c11/2.jpg"] + [
        "c11/10.jpg"
    ]
    assert dataset.queries.labels.tolist() == [0, 0, 1, 1]
    assert load("folder", data_dir, test_fraction=0.5).train.paths == dataset.train.paths


def test_what_counts_as_an_image(tmp_path):
    images = ["a.jpg", "b.JPEG", "c.Png", "d.webp", "e.bmp", "f.GIF", "deep/er/g.jpg"]
    others = [".h.jpg", "i.txt", "j.tif", "k.jpg.part", ".hidden/l.jpg"]
    write_tree(tmp_path, *(f"one/{name}" for name in images + others), ".git/m.jpg")
    found = folder_images(tmp_path)
    assert sorted(relative(found, tmp_path)) == sorted(f"one/{name}" for name in images)
    assert found.class_names == ("one",)
    assert all(Path(path).is_absolute() for path in found.paths)


def test_a_linked_class_folder_is_read(tmp_path):
    write_tree(tmp_path / "elsewhere", "a.jpg", "b.jpg")
    data_dir = write_tree(tmp_path / "root", *classes(3))
    (tmp_path / "root" / "linked").symlink_to(tmp_path / "elsewhere")
    assert load("folder", data_dir).queries.class_names == ("c2", "linked")


def test_relative_paths_become_absolute(tmp_path, monkeypatch):
    write_tree(tmp_path / "set", *classes(4))
    monkeypatch.chdir(tmp_path)
    dataset = load("folder", "set")
    assert dataset.train.paths[0] == str(tmp_path / "set" / "c0" / "0.jpg")
    assert dataset.name == "set"


def test_the_images_of_any_folder_have_absolute_paths(tmp_path, monkeypatch):
    write_tree(tmp_path / "set", *classes(1))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    expected = folder_images(tmp_path / "set").paths
    for root in ("set", "~/set", Path("./set"), f"{tmp_path}/set/"):
        assert folder_images(root).paths == expected
    with pytest.raises(FileNotFoundError, match="class folders; received .*nowhere', which is not"):
        folder_images("nowhere")


def test_train_and_test_folders(tmp_path, caplog):
    names = ["Train/a/1.jpg", "Train/b/1.jpg", "Train/b/2.jpg"]
    names += ["test/c/1.jpg", "test/c/2.jpg", "test/d/1.jpg", "test/d/2.jpg", "val/e/1.jpg"]
    dataset = load("folder", write_tree(tmp_path, *names))
    assert relative(dataset.train, tmp_path) == names[:3]
    assert relative(dataset.queries, tmp_path) == names[3:7]
    assert dataset.queries.class_names == ("c", "d")
    assert relative(dataset.validation, tmp_path) == names[7:] and "ignored" not in caplog.text


@pytest.mark.parametrize("name", ["val", "Valid", "validation"])
def test_a_validation_folder_has_three_names(tmp_path, name):
    parts = {"train": "ab", name: "cd", "test": "ef"}
    names = [f"{part}/{each}" for part, of in parts.items() for each in of]
    write_tree(tmp_path, *(f"{name}/{i}.jpg" for name in names for i in (1, 2)))
    dataset = load("folder", str(tmp_path))
    found = [part.class_names for part in (dataset.train, dataset.validation, dataset.queries)]
    assert found == [("a", "b"), ("c", "d"), ("e", "f")]


def test_a_folder_of_test_images_alone(tmp_path):
    test = load("folder", write_tree(tmp_path / "a", *(f"test/{name}" for name in classes(2))))
    assert test.train is None and test.queries.num_classes == 2 and test.gallery is None
    names = ["query/a/1.jpg", "gallery/a/2.jpg", "gallery/b/1.jpg"]
    shop = load("folder", write_tree(tmp_path / "b", *names))
    assert shop.train is None
    assert (len(shop.queries), len(shop.gallery), shop.gallery.num_classes) == (1, 2, 2)


@pytest.mark.parametrize("num_classes", [2, 3, 5])
def test_all_classes_are_test_classes(tmp_path, num_classes):
    dataset = load("folder", write_tree(tmp_path, *classes(num_classes)), test_fraction=1)
    assert dataset.train is None and dataset.queries.num_classes == num_classes
    assert len(dataset.queries) == 2 * num_classes
    with pytest.raises(ValueError, match=r"only test images.*test_fraction below 1.*evaluate$"):
        dataset.training_images()


def test_a_test_set_of_one_class(tmp_path):
    message = "at least 2 classes to search among; received those of 'c0' only. Add another class"
    with pytest.raises(ValueError, match=message):
        load("folder", write_tree(tmp_path / "a", *classes(1)), test_fraction=1)
    with pytest.raises(ValueError, match=message):
        load("folder", write_tree(tmp_path / "b", *(f"test/{name}" for name in classes(1))))


@pytest.mark.parametrize("fraction", [0, -0.5, 1.5, float("nan")])
def test_a_test_fraction_out_of_range(tmp_path, fraction):
    with pytest.raises(ValueError, match="test_fraction above 0 and at most 1; received"):
        load("folder", write_tree(tmp_path, *classes(4)), test_fraction=fraction)


def test_query_and_gallery_folders(tmp_path):
    names = ["train/a/1.jpg", "train/b/1.jpg", "query/c/1.jpg", "gallery/c/2.jpg"]
    dataset = load("folder", write_tree(tmp_path, *names, "gallery/d/1.jpg"))
    assert relative(dataset.queries, tmp_path) == ["query/c/1.jpg"]
    assert relative(dataset.gallery, tmp_path) == ["gallery/c/2.jpg", "gallery/d/1.jpg"]
    with pytest.raises(ValueError, match="received query, train"):
        load("folder", write_tree(tmp_path / "b", *(n for n in names if "gallery" not in n)))


def test_classes_may_be_called_train_and_test(tmp_path):
    names = [f"{name}/{i}.jpg" for name in ("bus", "car", "test", "train") for i in range(2)]
    dataset = load("folder", write_tree(tmp_path, *names))
    assert dataset.train.class_names + dataset.queries.class_names == (
        "bus",
        "car",
        "test",
        "train",
    )


def test_classes_seen_in_training_are_reported(tmp_path, caplog):
    names = [f"{part}/{c}/{i}.jpg" for part in ("train", "test") for c in "ab" for i in range(2)]
    load("folder", write_tree(tmp_path, *names))
    assert "2 classes, such as 'a', are in both training and test" in caplog.text


def test_a_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere', which is not there") as caught:
        load("folder", str(tmp_path / "nowhere"))
    assert "one_class/" in str(caught.value)
    with pytest.raises(FileNotFoundError, match="which is a file"):
        load("folder", write_tree(tmp_path, "a.jpg") + "/a.jpg")
    with pytest.raises(ValueError, match="--dataset folder --data-dir PATH"):
        load("folder")


def test_a_folder_of_images_needs_no_classes(tmp_path):
    with pytest.raises(FileNotFoundError, match="folder of images; .*not there. Check") as missing:
        images_at(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="folder with images, .*which has none. Check") as empty:
        images_at(tmp_path)
    assert "class" not in f"{missing.value} {empty.value}".replace(str(tmp_path), "")


def test_an_empty_folder(tmp_path):
    with pytest.raises(ValueError, match="0 images outside of class folders") as caught:
        load("folder", str(tmp_path))
    assert "one_class/" in str(caught.value)


def test_images_without_class_folders(tmp_path):
    with pytest.raises(ValueError, match="2 images outside of class folders and none inside"):
        load("folder", write_tree(tmp_path, "a.jpg", "b.png", "notes/c.txt"))


def test_stray_images_and_empty_classes_are_reported(tmp_path, caplog):
    load("folder", write_tree(tmp_path, *classes(4), "stray.jpg", "empty/readme.txt"))
    assert "1 in no class folder: stray.jpg" in caplog.text
    assert "1 folders in" in caplog.text
    assert "hold no image: empty" in caplog.text


def test_a_single_class(tmp_path):
    with pytest.raises(ValueError, match="at least 4 classes.*received 1: c0.*sub-folders are"):
        load("folder", write_tree(tmp_path, *classes(1)))


def test_a_class_with_a_single_image_is_reported(tmp_path, caplog):
    names = [name for name in classes(6) if name not in ("c0/1.jpg", "c4/1.jpg")]
    with caplog.at_level(logging.WARNING):
        dataset = load("folder", write_tree(tmp_path, *names))
    assert len(dataset.queries) == 5
    assert dataset.answerable().sum() == 4
    assert "1 of 5 queries have no other image of their class" in caplog.text
    assert "1 of 3 training classes have only one image, such as 'c0'" in caplog.text


def test_test_classes_that_all_have_a_single_image(tmp_path):
    names = [name for name in classes(4) if name not in ("c2/1.jpg", "c3/1.jpg")]
    with pytest.raises(ValueError, match="at least 2 images.*2 queries without any right answer"):
        load("folder", write_tree(tmp_path, *names))


@pytest.mark.parametrize("splits", [("query", "gallery"), ("train", "val"), ("Train",)])
def test_the_images_of_splits_have_their_classes(tmp_path, splits):
    write_tree(tmp_path, *(f"{split}/{name}" for split in splits for name in classes(3)))
    found = folder_images(tmp_path)
    assert found.class_names == ("c0", "c1", "c2") and len(found) == 6 * len(splits)


@pytest.mark.parametrize("splits", [("query", "val"), ("train", "val"), ("train",)])
def test_splits_that_are_no_set_say_what_is_missing(tmp_path, splits):
    data_dir = write_tree(tmp_path, *(f"{split}/{name}" for split in splits for name in classes(3)))
    with pytest.raises(ValueError, match="Add what is missing"):
        load("folder", data_dir)


@pytest.mark.parametrize("names", [("gallery", "street"), ("street", "train", "val")])
def test_classes_called_as_splits_are(tmp_path, names):
    write_tree(tmp_path, *(f"{name}/deep/{i}.jpg" for name in names for i in range(2)))
    assert folder_images(tmp_path).class_names == names


def test_other_folders_beside_splits(tmp_path, caplog):
    splits = ("gallery", "query")
    write_tree(tmp_path, *(f"{split}/{name}" for split in splits for name in classes(3)))
    write_tree(tmp_path, "annotations/boxes.txt")
    assert folder_images(tmp_path).class_names == ("c0", "c1", "c2")
    assert "are ignored: annotations." in caplog.text


def test_a_single_split_of_validation_is_split_by_class(tmp_path):
    dataset = load("folder", write_tree(tmp_path, *(f"val/{name}" for name in classes(4))))
    assert (dataset.train.num_classes, dataset.queries.num_classes) == (2, 2)


JPEG, HEIC, TIFF = b"\xff\xd8\xff\xe0 JFIF", b"\0\0\0\x18ftypheic\0\0\0\0", b"II*\0\x08\0\0\0"


def write_files(root, **contents):
    root.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (root / name.replace("_dot_", ".")).write_bytes(content)


@pytest.mark.parametrize(
    "folder",
    ["@eaDir/0.jpg", "#recycle", "$RECYCLE.BIN", "lost+found", ".thumbnails", ".picasaoriginals"],
)
@pytest.mark.parametrize("place", [".", "c0"])
def test_thumbnails_and_deleted_files_are_no_images(tmp_path, caplog, folder, place):
    write_tree(tmp_path, *classes(4), f"{place}/{folder}/SYNOPHOTO_THUMB_M.jpg")
    found = folder_images(tmp_path)
    assert sorted(relative(found, tmp_path)) == classes(4)
    assert found.class_names == ("c0", "c1", "c2", "c3")
    assert os.path.normpath(f"{place}/{folder.split('/')[0]}") in caplog.text


def test_a_class_called_train_may_have_thumbnails(tmp_path):
    names = [f"{name}/{i}.jpg" for name in ("bus", "car", "test", "train") for i in range(2)]
    write_tree(tmp_path, *names, "train/@eaDir/0.jpg/T.jpg", "test/@eaDir/0.jpg/T.jpg")
    assert folder_images(tmp_path).class_names == ("bus", "car", "test", "train")


def test_images_are_told_by_their_contents(tmp_path, caplog):
    write_files(
        tmp_path / "one",
        **{"a_dot_jpg": b"", "b": JPEG, "c_dot_jfif": JPEG, "d_dot_heic": HEIC, "e_dot_tif": TIFF},
        **{"f_dot_txt": b"BMW and others, 54 bytes or more of text that is no bitmap"},
        **{"g_dot_jpg_original": JPEG, "h_dot_dat": b"\x89PNG\r\n\x1a\n", "_dot_DS_Store": b"x"},
        **{"i_dot_bmp_dot_part": b"BM" + bytes(12) + b"\x28\0\0\0"},
    )
    assert relative(folder_images(tmp_path), tmp_path / "one") == ["a.jpg", "b", "c.jfif", "h.dat"]
    assert "6 files and folders are left out" in caplog.text
    assert "1 in the format HEIC, which cannot be decoded" in caplog.text
    assert "1 in the format TIFF, which cannot be decoded" in caplog.text
    assert "mogrify -format jpg FILES): one/e.tif" in caplog.text
    assert "1 not images, by their contents: one/f.txt" in caplog.text
    assert "2 copies or unfinished downloads, by their names: one/g.jpg_original" in caplog.text
    assert "1 hidden: one/.DS_Store" in caplog.text


def test_nothing_is_said_where_every_file_is_read(tmp_path, caplog):
    folder_images(write_tree(tmp_path, *classes(2)))
    assert not caplog.records


def test_why_there_is_no_image_is_said(tmp_path, caplog):
    write_files(tmp_path / "one", a_dot_heic=HEIC)
    with pytest.raises(ValueError, match="images in class folders"):
        folder_images(tmp_path)
    assert "HEIC" in caplog.text


def test_a_link_inside_a_class_folder_is_reported(tmp_path, caplog):
    write_tree(tmp_path, *classes(1))
    (tmp_path / "c0" / "loop").symlink_to(tmp_path)
    assert len(folder_images(tmp_path)) == 2
    assert "links to folders inside a class folder, which are not followed: c0/loop" in caplog.text


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path, monkeypatch):
    write_tree(tmp_path, "c0/a.jpg", "c0/deep/b.jpg")
    scandir = os.scandir

    def refusing(path):
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(PermissionError, match="deep"):
        folder_images(tmp_path)


def test_a_gallery_holds_the_images_beside_its_folders(tmp_path):
    write_tree(tmp_path / "g", "b.jpg", "a.jpg", *classes(1), "c0/deep/d.jpg")
    found = images_at(tmp_path / "g")
    expected = ["a.jpg", "b.jpg", "c0/0.jpg", "c0/1.jpg", "c0/deep/d.jpg"]
    assert relative(found, tmp_path / "g") == expected
    assert [found.class_names[label] for label in found.labels] == ["g"] * 2 + ["c0"] * 3


def test_files_beside_splits_are_reported(tmp_path, caplog):
    parts = ("train/a", "train/b", "test/c", "test/d")
    names = [f"{part}/{i}.jpg" for part in parts for i in range(2)]
    load("folder", write_tree(tmp_path, *names, "stray.jpg", "test/notes.txt"))
    assert "1 in no class folder: stray.jpg" in caplog.text
    assert "1 not images, by their contents: notes.txt" in caplog.text


@pytest.mark.parametrize(
    "names", [("Audi", "audi"), ("Audi", "Audi "), ("3", "03"), ("é", "e\u0301")]
)
def test_class_folders_of_almost_one_name_are_reported(tmp_path, caplog, names):
    write_tree(tmp_path, *(f"{name}/{i}.jpg" for name in ("x", "y", *names) for i in range(2)))
    assert load("folder", str(tmp_path)).train.num_classes == 2
    assert "1 groups of classes" in caplog.text
    assert all(repr(name) in caplog.text for name in names)


def test_classes_of_almost_one_name_in_train_and_test_are_reported(tmp_path, caplog):
    parts = (("train", "Audi"), ("train", "BMW"), ("test", "audi"), ("test", "VW"))
    write_tree(tmp_path, *(f"{part}/{name}/{i}.jpg" for part, name in parts for i in range(2)))
    load("folder", str(tmp_path))
    assert "'Audi', 'audi'" in caplog.text
