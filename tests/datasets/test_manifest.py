import csv
import os
from pathlib import Path

import pytest

from pa_keras.datasets import images_at, load, read_manifest

ROWS = [(f"{c}/{i}.jpg", str(c)) for c in (8, 9, 10, 11) for i in range(2)]
SPLITS = ["train"] * 4 + ["test"] * 4


def write_manifest(root, header, rows, name="manifest.csv"):
    root.mkdir(exist_ok=True)
    for row in rows:
        path = root / row[0]
        if row[0].endswith(".jpg") and not row[0].startswith(("..", "/")):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
    with (root / name).open("w", newline="") as file:
        csv.writer(file).writerows([header.split(","), *rows])
    return str(root)


def with_splits(splits):
    return [(*row, split) for row, split in zip(ROWS, splits, strict=True)]


@pytest.mark.parametrize("column", ["class_id", "class", "label"])
def test_a_manifest_without_splits_is_split_by_class(tmp_path, column):
    dataset = load("manifest", write_manifest(tmp_path, f"path,{column}", ROWS))
    assert dataset.name == tmp_path.name
    assert dataset.train.class_names == ("8", "9")
    assert dataset.queries.class_names == ("10", "11")
    assert dataset.queries.paths[0] == str(tmp_path / "10" / "0.jpg")
    assert dataset.queries.labels.tolist() == [0, 0, 1, 1]
    assert dataset.gallery is None


def test_test_rows_are_queries_of_each_other(tmp_path):
    data_dir = write_manifest(tmp_path, "path,class_id,split", with_splits(SPLITS[::-1]))
    dataset = load("manifest", data_dir + "/manifest.csv")
    assert dataset.train.class_names == ("10", "11")
    assert dataset.queries.class_names == ("8", "9")
    assert dataset.gallery is None


def test_query_and_gallery_rows(tmp_path):
    splits = ["train"] * 4 + ["query", "Gallery "] * 2
    dataset = load("manifest", write_manifest(tmp_path, "path,label,split", with_splits(splits)))
    assert [Path(path).name for path in dataset.queries.paths] == ["0.jpg", "0.jpg"]
    assert [Path(path).name for path in dataset.gallery.paths] == ["1.jpg", "1.jpg"]
    assert dataset.queries.labels.tolist() == dataset.gallery.labels.tolist() == [0, 1]


def test_class_names_are_kept_and_told_apart(tmp_path):
    rows = [(path, c, {"8": "eight", "9": "nine"}.get(c, "")) for path, c in ROWS]
    data_dir = write_manifest(tmp_path, "path,class_id,class_name", rows)
    assert read_manifest(data_dir)[0].class_names == ("eight", "nine", "10", "11")
    rows = [(path, c, "same" if c in "89" else c) for path, c in ROWS]
    data_dir = write_manifest(tmp_path, "path,class_id,class_name", rows)
    assert read_manifest(data_dir)[0].class_names == ("same (8)", "same (9)", "10", "11")


def test_byte_order_mark_spaces_quotes_and_other_columns(tmp_path):
    write_manifest(tmp_path, "path,label", [("a, b.jpg", "x"), ("c.jpg", "y")])
    text = '\ufeffnote, label ,path\nhi,x,"a, b.jpg"\nho, y ,c.jpg\n'
    (tmp_path / "manifest.csv").write_text(text, encoding="utf-8")
    images, splits = read_manifest(tmp_path)
    assert images.paths == (str(tmp_path / "a, b.jpg"), str(tmp_path / "c.jpg"))
    assert images.class_names == ("x", "y")
    assert splits is None


def test_a_missing_manifest(tmp_path):
    with pytest.raises(FileNotFoundError, match="manifest.csv; received no such file.*path,class"):
        load("manifest", str(tmp_path))
    with pytest.raises(ValueError, match="--dataset manifest --data-dir PATH"):
        load("manifest")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("file,class_id", "column path in .*received the columns file, class_id"),
        (
            "path,kind",
            "column class_id or class or label or class_name in .*received the columns path, kind",
        ),
    ],
)
def test_a_missing_column(tmp_path, header, message):
    with pytest.raises(ValueError, match=message):
        load("manifest", write_manifest(tmp_path, header, ROWS))


def test_a_duplicate_path(tmp_path):
    rows = [*ROWS, ("9/../8//0.jpg", "8")]
    with pytest.raises(ValueError, match="each path once.*in line 2 and again in line 10"):
        load("manifest", write_manifest(tmp_path, "path,label", rows))


@pytest.mark.parametrize("path", ["../x.jpg", "a/../../x.jpg", "/elsewhere/x.jpg", "."])
def test_a_path_outside_of_the_folder(tmp_path, path):
    with pytest.raises(ValueError, match="paths inside .*in line 10 .*outside"):
        load("manifest", write_manifest(tmp_path / "set", "path,label", [*ROWS, (path, "8")]))


def test_a_sibling_with_the_same_beginning_is_outside(tmp_path):
    rows = [(f"{tmp_path}/set-2/x.jpg", "8")]
    with pytest.raises(ValueError, match="outside"):
        load("manifest", write_manifest(tmp_path / "set", "path,label", rows))


def test_absolute_paths_and_links_inside_the_folder_are_fine(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "x.jpg").write_bytes(b"")
    data_dir = write_manifest(tmp_path / "set", "path,label", ROWS)
    (tmp_path / "set" / "linked").symlink_to(tmp_path / "disk")
    rows = [("linked/x.jpg", "a"), (f"{data_dir}/8/0.jpg", "b")]
    (tmp_path / "set" / "manifest.csv").write_text(
        "path,label\n" + "".join(f"{path},{label}\n" for path, label in rows)
    )
    assert read_manifest(data_dir)[0].paths == (f"{data_dir}/linked/x.jpg", f"{data_dir}/8/0.jpg")


def test_missing_images_are_counted_and_named(tmp_path):
    rows = [(f"gone {i:02}.png", "a") for i in range(25)]
    with pytest.raises(FileNotFoundError, match="33 images .* 25 paths without a file") as caught:
        load("manifest", write_manifest(tmp_path, "path,label", ROWS + rows))
    assert "gone 19.png" in str(caught.value)
    assert "gone 20.png" not in str(caught.value)
    assert "and 5 more" in str(caught.value)


def test_an_unknown_split(tmp_path):
    rows = with_splits([*SPLITS[:-1], "tests"])
    message = "received 'tests' in line 9 .*Did you mean 'test'"
    with pytest.raises(ValueError, match=message):
        load("manifest", write_manifest(tmp_path, "path,label,split", rows))


@pytest.mark.parametrize("splits", [["train"] * 8, ["val"] * 8, ["train"] * 4 + ["query"] * 4])
def test_incomplete_splits(tmp_path, splits):
    with pytest.raises(ValueError, match="Expected the splits train and test, or"):
        load("manifest", write_manifest(tmp_path, "path,label,split", with_splits(splits)))


def test_test_rows_alone_and_queries_with_a_gallery_alone(tmp_path):
    rows = with_splits(["test"] * 8)
    dataset = load("manifest", write_manifest(tmp_path / "a", "path,label,split", rows))
    assert dataset.train is None and len(dataset.queries) == 8 and dataset.gallery is None
    rows = with_splits(["query", "gallery"] * 4)
    dataset = load("manifest", write_manifest(tmp_path / "b", "path,label,split", rows))
    assert dataset.train is None and (len(dataset.queries), len(dataset.gallery)) == (4, 4)


@pytest.mark.parametrize("name", ["val", "Validation", "valid"])
def test_rows_to_select_the_best_epoch_by(tmp_path, name):
    rows = [*with_splits(SPLITS), ("v/0.jpg", "v", name), ("v/1.jpg", "v", "val")]
    rows += [("w/0.jpg", "w", name), ("8/v.jpg", "8", name)]
    dataset = load("manifest", write_manifest(tmp_path, "path,label,split", rows))
    assert (len(dataset.train), len(dataset.queries), len(dataset.validation)) == (4, 4, 4)
    assert dataset.validation.class_names == ("8", "v", "w")


def test_all_rows_are_test_rows(tmp_path):
    data_dir = write_manifest(tmp_path, "path,label", ROWS[:4])
    dataset = load("manifest", data_dir, test_fraction=1)
    assert dataset.train is None and dataset.queries.class_names == ("8", "9")
    with pytest.raises(ValueError, match="received 2: 8, 9. .* give a test_fraction of 1"):
        load("manifest", data_dir)


def test_classes_of_training_in_the_validation_split_are_reported(tmp_path, caplog):
    rows = [*with_splits(SPLITS), ("8/v.jpg", "8", "val")]
    load("manifest", write_manifest(tmp_path, "path,label,split", rows))
    assert "1 classes, such as '8', are in both training and val" in caplog.text


def test_classes_seen_in_training_are_reported(tmp_path, caplog):
    splits = ["train"] * 6 + ["test"] * 2
    rows = [*with_splits(splits), ("8/x.jpg", "8", "test"), ("8/y.jpg", "8", "test")]
    load("manifest", write_manifest(tmp_path, "path,label,split", rows))
    assert "1 classes, such as '8', are in both training and test" in caplog.text


def test_queries_without_an_answer_are_reported(tmp_path, caplog):
    rows = [*with_splits(SPLITS), ("x.jpg", "x", "test")]
    dataset = load("manifest", write_manifest(tmp_path, "path,label,split", rows))
    assert len(dataset.queries) == 5
    assert "1 of 5 queries have no other image of their class" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "received no image"),
        ("path,label\n", "received no image"),
        ("path,label\na.jpg\n", "Expected 2 cells in line 2 .*received fewer"),
        ("path,label\na,b.jpg,x\n", "Expected 2 cells in line 2 .*received more"),
        ("path,label\n,x\n", "a path and a label in every line .* received none in line 2"),
        ("path,label\na.jpg,\nb.jpg,y\nc.jpg,\n", "received none in lines 2, 4"),
        ("path,label,label\na.jpg,x,y\n", "each column once .* received label again"),
        ("path;label\na.jpg;b;x\n", "Expected 2 cells in line 2 .*Quote a cell that holds ';'"),
    ],
)
def test_broken_rows(tmp_path, text, message):
    (tmp_path / "manifest.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        load("manifest", str(tmp_path))


def test_a_file_that_is_no_csv(tmp_path):
    (tmp_path / "manifest.csv").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(ValueError, match="Expected a CSV in UTF-8"):
        load("manifest", str(tmp_path))


def test_the_manifest_of_real_cars():
    data = os.environ.get("PA_KERAS_DATA")
    if not data:
        pytest.skip("PA_KERAS_DATA, the folder of the shared data, is not set")
    dataset = load("manifest", f"{data}/cars196")
    assert (len(dataset.train), dataset.train.num_classes) == (8054, 98)
    assert (len(dataset.queries), dataset.queries.num_classes) == (8131, 98)
    assert dataset.train.class_names[0] == "AM General Hummer SUV 2000"
    assert load("cars196", f"{data}/cars196").queries.paths == dataset.queries.paths


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_cells_are_separated_by_commas_semicolons_or_tabs(tmp_path, delimiter):
    write_manifest(tmp_path, "path,label", ROWS)
    rows = [("label", "path"), *((label, path) for path, label in ROWS)]
    (tmp_path / "list.tsv").write_text(
        "\ufeff" + "".join(delimiter.join(row) + "\r\n" for row in rows), encoding="utf-8"
    )
    found = images_at(tmp_path / "list.tsv")
    assert found.class_names == ("8", "9", "10", "11")
    assert found.paths == read_manifest(tmp_path)[0].paths


def test_classes_that_are_equal_as_numbers_are_reported(tmp_path, caplog):
    names = ["3", "3.0", "03", "4", "1_2", "12", "9007199254740993", "9007199254740992"]
    rows = [(f"{c}/{i}.jpg", c) for c in names for i in range(2)]
    dataset = load("manifest", write_manifest(tmp_path, "path,label", rows))
    assert dataset.train.num_classes + dataset.queries.num_classes == len(names)
    assert "1 groups of classes" in caplog.text
    assert "'03', '3', '3.0'" in caplog.text


def test_the_rows_of_missing_values_are_named(tmp_path, caplog):
    rows = [*ROWS, ("a.jpg", "nan"), ("b.jpg", "10"), ("c.jpg", "None")]
    load("manifest", write_manifest(tmp_path, "path,label", rows))
    assert "2 rows have a class that is the mark of a missing value" in caplog.text
    assert "taken as one class: lines 10, 12." in caplog.text


def test_nothing_is_said_of_sound_classes(tmp_path, caplog):
    load("manifest", write_manifest(tmp_path, "path,label", ROWS))
    assert not caplog.records


def test_a_gallery_needs_no_classes(tmp_path, caplog):
    data_dir = write_manifest(tmp_path, "path,note", ROWS)
    found = images_at(data_dir)
    assert len(found) == len(ROWS) and found.class_names == ("",)
    assert not caplog.records
    with pytest.raises(ValueError, match="column class_id"):
        load("manifest", data_dir)
    rows = [*ROWS, ("a.jpg", "")]
    found = images_at(write_manifest(tmp_path, "path,label", rows))
    assert found.class_names == ("", "8", "9", "10", "11")
    assert "1 rows have no class: line 10." in caplog.text


def test_a_name_alone_is_a_class(tmp_path):
    found, _ = read_manifest(write_manifest(tmp_path, "path,class_name", ROWS))
    assert found.class_names == ("8", "9", "10", "11")


def test_empty_lines_are_left_out_but_not_before_the_columns(tmp_path):
    manifest = Path(write_manifest(tmp_path, "path,class_id", ROWS)) / "manifest.csv"
    text = manifest.read_text()
    manifest.write_text(text.replace("\n", "\n\n"))
    assert len(read_manifest(tmp_path)[0]) == len(ROWS)
    manifest.write_text("\n" + text)
    with pytest.raises(ValueError, match="Expected 0 cells in line 2 .* received more"):
        read_manifest(tmp_path)
