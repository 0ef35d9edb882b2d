"""The gallery of an export: IDs and labels; only embeddings of the same model are accepted."""

import contextlib

import numpy as np
import pytest

from pa_keras.exporters.gallery import Gallery, expect_k, read_gallery

EMBEDDINGS = np.eye(3, 4, dtype=np.float32)


def write(path, **changes):
    content = {
        "embeddings": EMBEDDINGS,
        "labels": np.array([0, 1, 1], np.int32),
        "class_names": np.array(["cat", "dög"]),
        "paths": np.array(["/data/cat/1.jpg", "/data/dog/1.jpg", "/data/dog/2.jpg"]),
        "checksum": "abc",
        "crop_fraction": 0.875,
    } | changes
    np.savez(path, **{name: value for name, value in content.items() if value is not None})
    return path


def test_reads_what_embed_wrote(tmp_path):
    gallery = read_gallery(write(tmp_path / "a.npz"), "abc", 0.875, "int8")
    np.testing.assert_array_equal(gallery.embeddings, EMBEDDINGS)
    assert list(gallery.ids) == ["cat/1.jpg", "dog/1.jpg", "dog/2.jpg"]
    assert list(gallery.class_names) == ["cat", "dög"]
    assert (gallery.labels.tolist(), gallery.dtype, len(gallery)) == ([0, 1, 1], "int8", 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"checksum": "of another"}, "another one made .* checksum differs"),
        ({"crop_fraction": 1.0}, "crop_fraction 0.875; .* has 1.0"),
        ({"checksum": None}, "another file or damaged .*checksum"),
        ({"labels": np.array([0])}, "an id and a label for each of 3"),
    ],
)
def test_refuses_another_models_gallery(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        read_gallery(write(tmp_path / "a.npz", **changes), "abc", 0.875)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": "float16"}, "float32, bfloat16, int8; received 'float16'"),
        ({"embeddings": np.zeros((0, 4))}, "neither of them 0"),
        ({"embeddings": np.zeros(4)}, r"shape \(N, D\)"),
        ({"ids": ["a"]}, "1 ids and 3 labels"),
        ({"labels": np.array([0, 1, 0])}, r"labels in \[0, 1\), .* received 0 to 1"),
        ({"labels": np.array([0, -1, 0])}, "received -1 to 0"),
        ({"embeddings": np.full((3, 4), np.nan)}, "finite gallery embeddings"),
    ],
)
def test_gallery_refused(changes, message):
    arguments = {
        "embeddings": EMBEDDINGS,
        "ids": ["a", "b", "c"],
        "labels": np.zeros(3, int),
        "class_names": ["x"],
    }
    with pytest.raises(ValueError, match=message):
        Gallery(**arguments | changes)


@pytest.mark.parametrize("k", [0, -1, 4])
def test_k_beyond_the_gallery(k):
    with pytest.raises(ValueError, match=f"gallery's size, 3; received {k}"):
        expect_k(k, 3)


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": np.array([0.5, 1, 1])},
        {"labels": np.array(["a", "b", "b"])},
        {"labels": np.array([[0], [1], [1]])},
        {"embeddings": np.full((3, 4), "a")},
        {"embeddings": np.eye(3, 4, dtype=int)},
        {"paths": np.arange(3)},
        {"paths": np.full((3, 2), "/a")},
        {"crop_fraction": np.array([0.8, 0.9])},
        {"crop_fraction": "big"},
    ],
)
def test_arrays_that_embed_does_not_write(tmp_path, changes):
    with pytest.raises(ValueError, match=f"is another file or damaged .{next(iter(changes))} is"):
        read_gallery(write(tmp_path / "a.npz", **changes), "abc", 0.875)


def test_no_paths(tmp_path):
    path = write(tmp_path / "a.npz", paths=np.array([], str))
    with pytest.raises(ValueError, match="received 0 ids"):
        read_gallery(path, "abc", 0.875)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_damaged_file_is_read_or_refused(tmp_path, save):
    rng = np.random.default_rng(0)
    with np.load(write(tmp_path / "a.npz")) as arrays:
        save(tmp_path / "b.npz", **arrays)
    whole, path = (tmp_path / "b.npz").read_bytes(), tmp_path / "c.npz"
    for number in range(300):
        content = bytearray(whole)
        if number % 4:
            content[rng.integers(len(content))] ^= rng.integers(1, 256)
        else:
            content = content[: rng.integers(len(content))]
        path.write_bytes(content)
        with contextlib.suppress(ValueError):
            read_gallery(path, "abc", 0.875)


def test_a_file_of_another_kind(tmp_path):
    np.save(tmp_path / "a.npy", EMBEDDINGS)
    (tmp_path / "a.npy").rename(tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"a\.npz is another file or damaged"):
        read_gallery(tmp_path / "a.npz", "abc", 0.875)
