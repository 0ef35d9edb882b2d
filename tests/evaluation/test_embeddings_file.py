"""Reading the .npz file of embeddings back, rejecting other files, and IDs of files."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pa_keras.evaluation.embeddings_file import ids_of, read_embeddings

CONTENT = {
    "embeddings": np.eye(2, 4, dtype=np.float32),
    "labels": np.array([0, 1], np.int32),
    "class_names": np.array(["cat", "dög"]),
    "paths": np.array(["/data/cat/1.jpg", "/data/dog/1.jpg"]),
    "checksum": "abc",
    "crop_fraction": 0.875,
}


def test_reads_what_embed_wrote(tmp_path):
    np.savez(tmp_path / "a.npz", **CONTENT)
    found = read_embeddings(tmp_path / "a.npz")
    for name, value in CONTENT.items():
        np.testing.assert_array_equal(getattr(found, name), value)


@pytest.mark.parametrize("name", CONTENT)
def test_an_array_is_missing(tmp_path, name):
    np.savez(tmp_path / "a.npz", **{key: CONTENT[key] for key in CONTENT if key != name})
    with pytest.raises(ValueError, match=f"or damaged .*{name}.* Embed the images again"):
        read_embeddings(tmp_path / "a.npz")


def test_another_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_embeddings(tmp_path / "none.npz")
    for content in (b"", b"no archive", b"PK\x03\x04 cut"):
        (tmp_path / "bad.npz").write_bytes(content)
        with pytest.raises(ValueError, match=r"bad\.npz is another file or damaged"):
            read_embeddings(tmp_path / "bad.npz")


NAMES = st.text("ab.é ", min_size=1).filter(lambda name: name.strip("."))


@given(st.lists(st.lists(NAMES, min_size=1, max_size=3), min_size=1, max_size=5))
def test_ids_say_which_file_below_the_shared_folder(parts):
    paths = ["/" + "/".join(each) for each in parts]
    ids = ids_of(paths)
    shared = {path.removesuffix(each) for path, each in zip(paths, ids, strict=True)}
    assert len(shared) == 1
    assert shared.pop().endswith("/")


def test_ids_below_a_given_folder_after_a_prefix():
    assert ids_of(["/photos/cat/1.jpg"], "/photos", "more/") == ["more/cat/1.jpg"]
