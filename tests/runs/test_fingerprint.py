"""Fingerprints: changed images are named, and unchanged ones accepted."""

import csv
import hashlib
import os
import shutil
from pathlib import Path

import pytest

from pa_keras import datasets
from pa_keras.runs.data import load_checked
from pa_keras.runs.fingerprint import expect_same, fingerprint, write_fingerprint


@pytest.fixture
def written(photos, tmp_path):
    write_fingerprint(tmp_path / "images.csv", of(photos))
    return tmp_path / "images.csv"


def of(folder):
    dataset = datasets.load("folder", str(folder))
    return fingerprint({"train": dataset.train, "queries": dataset.queries, "gallery": None})


def test_the_same_images_elsewhere_and_newer(photos, written, tmp_path):
    expect_same(written, of(photos))
    shutil.copytree(photos, tmp_path / "moved", copy_function=shutil.copyfile)
    expect_same(written, of(tmp_path / "moved"))


def test_files_that_were_checked_are_not_read_again(photos, written):
    dataset, skipped, checksums = load_checked("folder", str(photos))
    assert not skipped
    parts = {"train": dataset.train, "queries": dataset.queries}
    assert fingerprint(parts, checksums) == of(photos)
    for path in dataset.train.paths:
        Path(path).write_bytes(b"")
    found = fingerprint(parts, checksums)
    expect_same(written, found)


def test_the_file_of_an_older_run(tmp_path, photos):
    """Written as the versions before wrote it, from the bytes of each file."""
    dataset = datasets.load("folder", str(photos))
    rows = [
        (
            part,
            os.path.relpath(path, photos),
            images.class_names[label],
            hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12],
        )
        for part, images in (("train", dataset.train), ("queries", dataset.queries))
        for path, label in zip(images.paths, images.labels, strict=True)
    ]
    with (tmp_path / "images.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("part", "path", "class", "checksum"), *rows])
    expect_same(tmp_path / "images.csv", of(photos))
    write_fingerprint(tmp_path / "again.csv", of(photos))
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "images.csv").read_bytes()


def add(root):
    shutil.copy(root / "class 0" / "1.png", root / "class 0" / "9.png")


def remove(root):
    for number in range(1, 6):
        (root / "class 7" / f"{number}.png").unlink()


def change_a_byte(root):
    path = root / "class 3" / "2.png"
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)


def move(root):
    (root / "class 2" / "0.png").rename(root / "class 1" / "20.png")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (add, r"received 1 added \(class 0/9\.png\)\. Put"),
        (remove, r"5 removed \(class 7/1\.png, class 7/2\.png, class 7/3\.png, \.\.\.\)"),
        (change_a_byte, r"1 with other contents \(class 3/2\.png\)"),
        (move, r"1 added \(class 1/20\.png\); 1 removed \(class 2/0\.png\)"),
    ],
)
def test_what_changed_is_named(photos, written, change, said):
    change(photos)
    with pytest.raises(ValueError, match=f"{said}.*delete {written}"):
        expect_same(written, of(photos))


def test_another_class(photos, written):
    found = of(photos)
    found["train", "class 0/0.png"] = ("class 1", found["train", "class 0/0.png"][1])
    with pytest.raises(ValueError, match=r"1 of another class \(class 0/0\.png\)"):
        expect_same(written, found)


def test_another_order(photos, written):
    with pytest.raises(ValueError, match="another order"):
        expect_same(written, dict(reversed(of(photos).items())))


def test_files_of_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "b.jpg"):
        Path(name).write_bytes(name.encode())
    found = fingerprint({"train": datasets.images.label_images(["a.jpg", "b.jpg"], ["x", "y"])})
    assert list(found) == [("train", "a.jpg"), ("train", "b.jpg")]
