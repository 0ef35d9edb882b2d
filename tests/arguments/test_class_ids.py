"""Labels in NumPy: numbers and names are kept or refused, wherever labels are taken."""

import doctest

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pa_keras import retrieval
from pa_keras.arguments import class_ids as module
from pa_keras.arguments.class_ids import class_ids, class_indices, class_labels, common_class_ids
from pa_keras.datasets import Images
from pa_keras.exporters.gallery import Gallery
from pa_keras.index.items import Items
from pa_keras.pipelines import training_batches

NAMES = ["owl", "cat", "owl", "ant"]
VECTORS = np.eye(4, dtype="float32")[[0, 1, 0, 2]]


def test_examples():
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "uint8", "uint32", "uint64"])
def test_integers_stay_as_they_are(dtype):
    labels = np.array([3, 0, np.iinfo(dtype).max // 2], dtype)
    assert class_labels("labels", labels).tolist() == class_ids("labels", labels).tolist()
    assert class_ids("labels", labels).tolist() == labels.tolist()


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([2.0, 0.0], [2, 0]),
        (np.array([2, 0], "float16"), [2, 0]),
        (tf.constant([2, 0], tf.bfloat16), [2, 0]),
        ([True, False], [1, 0]),
        (np.array([2, 0], object), [2, 0]),
        ([2**40, 2**40 + 1], [2**40, 2**40 + 1]),
        ([], []),
    ],
)
def test_whole_numbers_are_class_ids(labels, expected):
    assert class_ids("labels", labels).tolist() == expected
    assert class_labels("labels", labels).dtype.kind in "iu"


@pytest.mark.parametrize(
    "names",
    [
        NAMES,
        tuple(NAMES),
        np.array(NAMES),
        np.array(NAMES, object),
        np.array(NAMES, "S"),
        tf.constant(NAMES),
    ],
)
def test_names_stay_names_and_are_numbered_in_their_order(names):
    assert class_labels("labels", names).tolist() == NAMES
    assert class_ids("labels", names).tolist() == [2, 1, 2, 0]


def test_names_of_queries_and_gallery_share_their_ids():
    queries, gallery = common_class_ids(["dog", "cat"], np.array(["cat", "ant", "dog"]))
    assert (queries.tolist(), gallery.tolist()) == ([2, 1], [1, 0, 2])
    numbers = common_class_ids(np.array([2**60], "int64"), np.array([2**60 + 1, 2**60], "uint64"))
    assert retrieval.matches([[0, 1]], *numbers).tolist() == [[False, True]]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            [0.0, 0.5],
            r"below 9,007,199,254,740,992 in float64; received 0.5 in row 1",
        ),
        ([0.0, np.nan], "received nan in row 1. Give each class an integer ID or a name"),
        ([0.0, -np.inf], "received -inf in row 1"),
        (np.array([0, 2**24], "float32"), "below 16,777,216 in float32"),
        (np.array([0, 2**63], "uint64"), "below 9,223,372,036,854,775,808 in uint64"),
        (np.array([0, 1], "complex64"), r"received complex64 of shape \(2,\)"),
        ([[0], [1]], r"shape \(number,\); received int64 of shape \(2, 1\)"),
        (3, r"of shape \(\)"),
        (["cat", float("nan")], "one kind; received float, str. Drop the rows"),
        (["cat", 1], "received int, str"),
        ([0, None], "received NoneType, int"),
        (np.array(["cat", None], object), "received NoneType, str"),
    ],
)
def test_what_is_no_label_is_refused(labels, message):
    with pytest.raises(ValueError, match=f"the labels of queries .*{message}"):
        class_labels("the labels of queries", labels)


def test_names_beside_numbers_are_refused():
    with pytest.raises(ValueError, match="both as class names; received <U3 and int64"):
        retrieval.num_relevant(["cat"], [1])


def test_retrieval_takes_names():
    ids = class_ids("labels", NAMES)
    expected = retrieval.retrieval_metrics(VECTORS, ids, ks=(1,))
    assert retrieval.retrieval_metrics(VECTORS, NAMES, ks=(1,)) == expected
    gallery = VECTORS[:3], NAMES[:3]
    expected = retrieval.retrieval_metrics(VECTORS, ids, VECTORS[:3], ids[:3], ks=(1,))
    assert retrieval.retrieval_metrics(VECTORS, NAMES, *gallery, ks=(1,)) == expected
    options = {"query_labels": NAMES, "gallery_labels": NAMES[:3]}
    found, _ = retrieval.nearest_neighbours(VECTORS, VECTORS[:3], k=1, **options)
    assert retrieval.matches(found, NAMES, NAMES[:3]).ravel().tolist() == [True, True, True, False]
    assert retrieval.num_relevant(NAMES).tolist() == [1, 0, 1, 0]
    per_class = retrieval.per_class_metrics({"hit": np.array([1.0, 0, 1, 0])}, NAMES)
    assert per_class["label"].tolist() == ["ant", "cat", "owl"]
    assert per_class["hit"].tolist() == [0, 0, 1]
    assert retrieval.compression_table(VECTORS, NAMES, sizes=[4])[0].recall_at_1 == 1
    points = np.array([[0, 1], [9, 9], [0, 1.1], [9, 9.1]])
    assert retrieval.clustering_metrics(points, ["a", "b", "a", "b"])["nmi"] == 1


@pytest.mark.parametrize(
    "call",
    [
        lambda labels: retrieval.retrieval_metrics(VECTORS, labels),
        lambda labels: retrieval.retrieval_metrics(VECTORS, [0, 1, 0, 2], VECTORS, labels),
        lambda labels: retrieval.nearest_neighbours(
            VECTORS, VECTORS, 1, False, "exact", *[labels] * 2
        ),
        lambda labels: retrieval.matches([[0]] * 4, labels, labels),
        lambda labels: retrieval.num_relevant(labels),
        lambda labels: retrieval.per_class_metrics({"hit": np.zeros(4)}, labels),
        lambda labels: retrieval.per_query_metrics([[1, 2, 3]] * 4, labels, ks=(1,)),
        lambda labels: retrieval.compression_table(VECTORS, labels),
        lambda labels: retrieval.clustering_metrics(VECTORS, labels),
        lambda labels: training_batches(["a"] * 4, labels, batch_size=2, image_size=(8, 8), seed=0),
        lambda labels: Images(["/a"] * 4, labels, NAMES),
        lambda labels: Gallery(VECTORS, NAMES, labels, NAMES),
        lambda labels: Items(VECTORS, NAMES, NAMES, labels, NAMES),
    ],
)
def test_a_fraction_is_refused_wherever_labels_are_taken(call):
    with pytest.raises(ValueError, match="labels as class names or integer class .*received 0.5"):
        call([0.0, 1.0, 0.5, 2.0])
    with pytest.raises(ValueError, match="received NoneType, int"):
        call([0, 1, None, 2])


@pytest.mark.parametrize(
    ("labels", "dtype", "expected"),
    [
        ([5.0, 7.0, 5.0, 9.0], tf.int32, {5, 7, 9}),
        ([2**40, 2**40 + 1, 0, 1], tf.int64, {0, 1, 2**40, 2**40 + 1}),
        (NAMES, tf.int32, {0, 1, 2}),
    ],
)
def test_training_batches_keep_class_ids(tmp_path, labels, dtype, expected):
    paths = [str(tmp_path / f"{number}.png") for number in range(4)]
    for path in paths:
        Image.new("RGB", (8, 8)).save(path)
    batches = training_batches(paths, labels, batch_size=4, image_size=(8, 8), seed=0)
    _, found = next(iter(batches))
    assert found.dtype == dtype
    assert set(found.numpy().tolist()) == expected


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (NAMES, "each an index of class_names; received class names.*return_inverse"),
        ([0, 1, 2, 4], r"labels in \[0, 4\).*received 0 to 4"),
        ([-1, 0, 0, 0], "received -1 to 0"),
    ],
)
def test_labels_beside_class_names_are_their_indices(labels, message):
    assert class_indices([1.0, 0.0], ["a", "b"]).tolist() == [1, 0]
    for make in (
        lambda: Images(["/a"] * 4, labels, NAMES),
        lambda: Gallery(VECTORS, NAMES, labels, NAMES),
        lambda: Items(VECTORS, NAMES, NAMES, labels, NAMES),
    ):
        with pytest.raises(ValueError, match=message):
            make()
