import logging
from pathlib import Path

import pytest

from pa_keras.datasets import folder_images, load


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
    assert "ignored: val" in caplog.text


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


def test_an_empty_folder(tmp_path):
    with pytest.raises(ValueError, match="0 images outside of class folders") as caught:
        load("folder", str(tmp_path))
    assert "one_class/" in str(caught.value)


def test_images_without_class_folders(tmp_path):
    with pytest.raises(ValueError, match="2 images outside of class folders and none inside"):
        load("folder", write_tree(tmp_path, "a.jpg", "b.png", "notes/c.txt"))


def test_stray_images_and_empty_classes_are_reported(tmp_path, caplog):
    load("folder", write_tree(tmp_path, *classes(4), "stray.jpg", "empty/readme.txt"))
    assert "1 images in" in caplog.text
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
    assert "1 of 3 training classes have a single image, such as 'c0'" in caplog.text


def test_test_classes_that_all_have_a_single_image(tmp_path):
    names = [name for name in classes(4) if name not in ("c2/1.jpg", "c3/1.jpg")]
    with pytest.raises(ValueError, match="at least 2 images.*2 queries without any right answer"):
        load("folder", write_tree(tmp_path, *names))


@pytest.mark.parametrize("splits", [("query", "gallery"), ("train", "val"), ("Train",)])
def test_the_images_of_splits_have_their_classes(tmp_path, splits):
    write_tree(tmp_path, *(f"{split}/{name}" for split in splits for name in classes(3)))
    found = folder_images(tmp_path)
    assert found.class_names == ("c0", "c1", "c2") and len(found) == 6 * len(splits)


@pytest.mark.parametrize("splits", [("query", "gallery"), ("train", "val"), ("train",)])
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
    assert "is ignored: annotations." in caplog.text


def test_a_single_split_of_validation_is_split_by_class(tmp_path):
    dataset = load("folder", write_tree(tmp_path, *(f"val/{name}" for name in classes(4))))
    assert (dataset.train.num_classes, dataset.queries.num_classes) == (2, 2)
