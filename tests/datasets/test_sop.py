import shutil

import pytest

from pa_keras.datasets import load, sop

from .official_layouts import small_counts, write_lines, write_sop


@pytest.fixture
def products(tmp_path, monkeypatch):
    small_counts(monkeypatch)
    return write_sop(tmp_path / "Stanford_Online_Products")


def test_the_files_are_the_split(products):
    dataset = load("sop", str(products))
    names = ("toaster 111085122871", "bicycle 111085122872", "toaster 111085122873")
    assert dataset.train.class_names[:3] == names
    assert dataset.train.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert dataset.train.paths[3] == str(products / "bicycle_final" / "111085122872_0.JPG")
    assert dataset.queries.class_names[0] == "toaster 111085122875"
    assert dataset.gallery is None


def test_a_class_in_both_files_is_refused(products):
    table = (products / "Ebay_test.txt").read_text()
    (products / "Ebay_test.txt").write_text(table.replace(" 6 1 ", " 2 1 "))
    with pytest.raises(ValueError, match="Ebay_test.txt than .*; received 1 in both: 2. Fetch"):
        load("sop", str(products))


def test_a_file_without_its_header(products):
    lines = (products / "Ebay_test.txt").read_text().splitlines(keepends=True)
    (products / "Ebay_test.txt").write_text("".join(lines[1:]))
    message = (
        "columns image_id class_id super_class_id path in line 1 of .*test.txt; received '13 5"
    )
    with pytest.raises(ValueError, match=message):
        load("sop", str(products))


def test_a_missing_test_file(products):
    (products / "Ebay_test.txt").unlink()
    with pytest.raises(FileNotFoundError, match="received no Ebay_test.txt there"):
        load("sop", str(products))


@pytest.mark.large
def test_a_list_of_full_size(tmp_path):
    """The sizes and class names are those of the benchmark; images are empty files."""
    header = ("image_id", "class_id", "super_class_id", "path")
    rows, folders = [], ("bicycle", "cabinet", "chair", "lamp", "sofa", "toaster")
    for part, first in (("training", 1), ("test", 11_319)):
        num_classes, num_images = sop.COUNTS[part]
        for i in range(num_images):
            c = first + i * num_classes // num_images
            path = f"{folders[c % 6]}_final/{111085122870 + c}_{i}.JPG"
            rows.append((len(rows) + 1, c, c % 6 + 1, path))
    for folder in folders:
        (tmp_path / f"{folder}_final").mkdir()
    for *_, path in rows:
        (tmp_path / path).touch()
    write_lines(tmp_path / "Ebay_train.txt", [header, *rows[:59_551]])
    write_lines(tmp_path / "Ebay_test.txt", [header, *rows[59_551:]])
    dataset = load("sop", str(tmp_path))
    assert (len(dataset.train), dataset.train.num_classes) == (59_551, 11_318)
    assert (len(dataset.queries), dataset.queries.num_classes) == (60_502, 11_316)
    # Delete the many files, since pytest keeps those of its last runs.
    shutil.rmtree(tmp_path)
