"""Finding files that are byte for byte the same, in leave-one-out and with a gallery."""

import numpy as np
import pytest

from pa_keras.datasets import Images
from pa_keras.evaluation.duplicates import find_duplicates, first_of_same_bytes


@pytest.fixture
def images(tmp_path):
    def write(name, contents, labels):
        paths = []
        for number, content in enumerate(contents):
            path = tmp_path / f"{name}{number}"
            path.write_bytes(content)
            paths.append(str(path))
        return Images(paths, np.array(labels), ("a", "b"))

    return write


def test_leave_one_out(images):
    queries = images("q", [b"1", b"2", b"1", b"33", b"2", b"1"], [0, 0, 0, 1, 1, 0])
    assert first_of_same_bytes(queries.paths).tolist() == [0, 1, 0, 3, 1, 0]
    found = find_duplicates(queries)
    assert found.number == 3 and found.num_conflicts == 1 and found.gallery is None
    kept, gallery = found.drop(queries, None)
    assert kept.paths == queries.take([0, 1, 3]).paths and gallery is None
    assert found.as_json("drop") == {"files": 3, "of_other_class": 1, "dropped": True}
    (line,) = found.as_lines("keep")
    assert line.startswith("3 files repeat another byte for byte, 1 of them one of another class:")


def test_a_gallery_loses_the_copies_of_queries(images):
    queries, gallery = images("q", [b"1", b"2"], [0, 1]), images("g", [b"3", b"2", b"3"], [0, 1, 0])
    found = find_duplicates(queries, gallery)
    assert found.number == 2 and found.num_conflicts == 0
    kept, others = found.drop(queries, gallery)
    assert kept.paths == queries.paths and others.paths == gallery.paths[:1]


def test_nothing_repeats(images):
    queries = images("q", [b"1", b"2"], [0, 1])
    assert find_duplicates(queries).as_lines("drop") == []
    assert find_duplicates(queries).drop(queries, None)[0].paths == queries.paths


def test_a_gallery_of_nothing_but_copies_is_refused(images):
    queries = images("q", [b"1", b"2"], [0, 1])
    with pytest.raises(ValueError, match="all repeat a query"):
        find_duplicates(queries, queries).drop(queries, queries)


def test_hard_links_and_copies_are_the_same(tmp_path):
    contents = {"a": b"one", "b": b"two", "copy of b": b"two", "c": b"longer"}
    for name, each in contents.items():
        (tmp_path / name).write_bytes(each)
    (tmp_path / "link to copy").hardlink_to(tmp_path / "copy of b")
    (tmp_path / "link to c").hardlink_to(tmp_path / "c")
    names = ["link to copy", "a", "link to c", "b", "c", "copy of b"]
    firsts = first_of_same_bytes([str(tmp_path / name) for name in names])
    assert firsts.tolist() == [0, 1, 2, 0, 2, 0]
    with pytest.raises(FileNotFoundError, match="missing"):
        first_of_same_bytes([str(tmp_path / "a"), str(tmp_path / "missing")])
