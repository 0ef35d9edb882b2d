import numpy as np
import pytest

from pa_keras.datasets import (
    Dataset,
    Images,
    hold_out_classes,
    label_images,
    sample_classes,
    split_by_class,
)
from pa_keras.datasets.images import natural_key
from pa_keras.datasets.splits import split_as_given


def make_images(counts):
    """Makes `counts[c]` images of each class c."""
    labels = np.repeat(np.arange(len(counts)), counts)
    paths = tuple(f"/{c}/{i}.jpg" for i, c in enumerate(labels))
    return Images(paths, labels, tuple(f"name {c}" for c in range(len(counts))))


def class_of(images):
    return [images.class_names[label] for label in images.labels]


def test_images_hold_read_only_int32_labels():
    labels = np.array([0, 1])
    images = Images(["/a", "/b"], labels, ["x", "y"])
    labels[0] = 1
    assert images.labels.dtype == np.int32
    assert images.labels.tolist() == [0, 1]
    assert images.paths == ("/a", "/b")
    assert images.num_classes == len(images) == 2
    assert repr(images) == "Images(2 images, 2 classes)"
    with pytest.raises(ValueError, match="read-only"):
        images.labels[0] = 1


@pytest.mark.parametrize(
    ("paths", "labels", "message"),
    [
        ((), [], "at least one image"),
        (("/a",), [0, 1], "one label for each of 1 paths"),
        (("/a",), [0.5], "received 0.5 in row 0"),
        (("/a",), [[0]], r"shape \(1, 1\)"),
        (("/a", "/b"), [0, 2], r"labels in \[0, 2\).*received 0 to 2"),
        (("/a", "/b"), [-1, 0], "received -1 to 0"),
    ],
)
def test_bad_images_are_refused(paths, labels, message):
    with pytest.raises(ValueError, match=message):
        Images(paths, labels, ("x", "y"))


def test_take_keeps_labels_and_names_for_indices_and_masks():
    images = make_images([1, 1, 1])
    for chosen in ([2, 0], np.array([2, 0])):
        part = images.take(chosen)
        assert part.paths == ("/2/2.jpg", "/0/0.jpg")
        assert part.labels.tolist() == [2, 0]
        assert part.class_names == images.class_names
    assert images.take(np.array([False, True, True])).labels.tolist() == [1, 2]


def test_take_classes_labels_anew_and_drops_empty_classes():
    part = make_images([2, 1, 0, 3]).take_classes([3, 2, 0])
    assert part.labels.tolist() == [0, 0, 1, 1, 1]
    assert part.class_names == ("name 0", "name 3")
    assert part.paths[2] == "/3/3.jpg"


def test_label_images_in_natural_order():
    images = label_images(["/a", "/b", "/c"], ["10", "9", "10"], {"9": "nine", "10": "ten"})
    assert images.labels.tolist() == [1, 0, 1]
    assert images.class_names == ("nine", "ten")
    assert label_images(["/a", "/b"], [10, 9]).class_names == ("9", "10")


def test_natural_key():
    names = ["b", "a10", "a9", "A1", "10", "9", "a", ""]
    assert sorted(names, key=natural_key) == ["", "9", "10", "a", "A1", "a9", "a10", "b"]


@pytest.mark.parametrize("num_classes", [4, 5, 7, 196])
@pytest.mark.parametrize("test_fraction", [0.01, 0.3, 0.5, 0.99])
def test_split_by_class_is_disjoint_and_complete(num_classes, test_fraction):
    images = make_images([2] * num_classes)
    train, test = split_by_class(images, test_fraction)
    assert train.class_names + test.class_names == images.class_names
    assert train.paths + test.paths == images.paths
    assert min(train.num_classes, test.num_classes) >= 2
    assert abs(test.num_classes - num_classes * test_fraction) <= 2
    assert class_of(train) + class_of(test) == class_of(images)


def test_split_by_class_halves_as_the_benchmarks_do():
    train, test = split_by_class(make_images([1] * 196))
    assert (train.num_classes, test.num_classes) == (98, 98)
    assert train.class_names[-1] == "name 97"


def test_split_by_class_refuses_too_little():
    with pytest.raises(ValueError, match="at least 4 classes.*received 3: name 0, name 1, name 2"):
        split_by_class(make_images([5, 5, 5]))
    with pytest.raises(ValueError, match="test_fraction between 0 and 1; received 1.5"):
        split_by_class(make_images([5] * 5), 1.5)


def test_hold_out_classes_is_disjoint_complete_and_seeded():
    images = make_images([2, 1, 3, 2, 4, 1, 2, 2])
    train, held_out = hold_out_classes(images, 0.25, seed=3)
    assert sorted(train.paths + held_out.paths) == sorted(images.paths)
    assert not set(train.class_names) & set(held_out.class_names)
    assert held_out.num_classes == 2
    assert np.bincount(held_out.labels).min() >= 2
    assert np.unique(train.labels).tolist() == list(range(train.num_classes))
    for part in (train, held_out):
        assert [f"name {path.split('/')[1]}" for path in part.paths] == class_of(part)
    again = hold_out_classes(images, 0.25, seed=3)[1]
    assert again.paths == held_out.paths
    chosen = {hold_out_classes(images, 0.25, seed=s)[1].class_names for s in range(9)}
    assert len(chosen) > 1


def test_hold_out_classes_refuses_too_little():
    with pytest.raises(ValueError, match="fraction between 0 and 1; received 0"):
        hold_out_classes(make_images([2] * 5), 0)
    with pytest.raises(ValueError, match="2 training classes with 2 images or more.*received 1"):
        hold_out_classes(make_images([1, 1, 1, 1, 2]))


@pytest.mark.parametrize("num_classes", [2, 3])
def test_the_training_half_of_a_small_set_is_too_little_to_hold_out(num_classes):
    message = f"{num_classes} training classes are too few to hold out 2.*training.selection last"
    with pytest.raises(ValueError, match=message) as caught:
        hold_out_classes(make_images([2] * num_classes))
    assert "sub-folders" not in str(caught.value)


def test_dataset_says_which_queries_can_be_answered():
    images = make_images([2, 1, 3])
    assert Dataset("x", images, images).answerable().tolist() == [True, True, False] + [True] * 3
    gallery = images.take([2, 3])
    assert Dataset("x", images, images, gallery).answerable().tolist() == [False] * 2 + [True] * 4


def test_bad_datasets_are_refused():
    images = make_images([2, 2])
    with pytest.raises(ValueError, match="at least 2 classes to train; received those of 'name 1'"):
        Dataset("x", images.take([2, 3]), images)
    with pytest.raises(ValueError, match="at least 2 classes to search among"):
        Dataset("x", images, images.take([0, 1]))
    with pytest.raises(ValueError, match="same class names"):
        Dataset("x", images, images, make_images([2, 2, 2]))
    with pytest.raises(ValueError, match="test classes with at least 2 images.*2 queries"):
        Dataset("x", images, images.take([0, 2]))


def test_split_as_given_labels_queries_and_gallery_alike():
    images = make_images([2, 2, 2, 2])
    splits = ["train"] * 4 + ["query", "gallery", "gallery", "query"]
    dataset = split_as_given("x", images, splits)
    assert dataset.train.paths == images.paths[:4]
    assert dataset.queries.paths == (images.paths[4], images.paths[7])
    assert dataset.gallery.paths == images.paths[5:7]
    assert dataset.queries.labels.tolist() == dataset.gallery.labels.tolist() == [0, 1]
    assert dataset.queries.class_names == ("name 2", "name 3")
    with pytest.raises(ValueError, match="received query, train. Add what is missing"):
        split_as_given("x", images, ["train"] * 4 + ["query"] * 4)


def labelled(labels, name="i"):
    names = tuple(f"class {i}" for i in range(20))
    return Images(tuple(f"/{name}{i}" for i in range(len(labels))), labels, names)


def test_sample_classes_takes_whole_classes_until_there_are_enough():
    images = labelled(np.repeat(np.arange(20), 5))
    dataset = Dataset("some", images, images)
    sizes = set()
    for number, expected in ((1, 10), (10, 10), (11, 15), (99, 100), (100, 100), (999, 100)):
        some = sample_classes(dataset, number).queries
        classes, counts = np.unique(some.labels, return_counts=True)
        assert len(some) == expected and set(counts) == {5}
        assert some.class_names == images.class_names
        sizes.add(tuple(classes))
    assert sample_classes(dataset, 30).queries.paths == sample_classes(dataset, 30).queries.paths
    other = sample_classes(dataset, 30, seed=1).queries
    assert other.paths != sample_classes(dataset, 30).queries.paths
    with pytest.raises(ValueError, match="num_images of 1 or more; received 0"):
        sample_classes(dataset, 0)


def test_sample_classes_of_queries_and_gallery():
    queries = labelled(np.repeat(np.arange(20), 2), "q")
    gallery = labelled(np.repeat(np.arange(12), 3), "g")  # eight classes have no right answer
    dataset = Dataset("some", labelled(np.repeat(np.arange(20), 2)), queries, gallery)
    some = sample_classes(dataset, 8)
    assert len(some.queries) == 8 and some.answerable().all()
    assert set(some.gallery.labels) == set(some.queries.labels)
    assert len(some.gallery) == 12
    more = sample_classes(dataset, 30)  # 24 of them have a right answer
    assert len(more.queries) == 30 and more.answerable().sum() == 24
    assert sample_classes(dataset, 40) is dataset
