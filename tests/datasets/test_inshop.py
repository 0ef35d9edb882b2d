import shutil
from pathlib import Path

import numpy as np
import pytest

from pa_keras.datasets import inshop, load

from .official_layouts import small_counts, write_inshop, write_lines


@pytest.fixture
def clothes(tmp_path, monkeypatch):
    small_counts(monkeypatch)
    return write_inshop(tmp_path / "In-shop")


def test_queries_and_gallery_are_labelled_together(clothes):
    dataset = load("inshop", str(clothes))
    assert dataset.train.class_names == tuple(f"id_{i:08}" for i in (1, 2, 3, 4))
    assert dataset.queries.class_names == dataset.gallery.class_names
    assert dataset.gallery.class_names == tuple(f"id_{i:08}" for i in (5, 6, 7, 8))
    assert dataset.queries.labels.tolist() == [0, 1, 2, 3]
    assert dataset.gallery.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    folder = clothes / "Img" / "img" / "MEN" / "Tees_Tanks" / "id_00000006"
    assert dataset.queries.paths[1] == str(folder / "01_1_front.jpg")
    assert dataset.gallery.paths[2] == str(folder / "02_1_front.jpg")


@pytest.mark.parametrize("folder", ["", "Anno", "anno", "Eval"])
@pytest.mark.parametrize("images", ["img", "Img/img", "img_highres", "Img/img_highres", "Img"])
def test_circulating_copies(clothes, folder, images):
    (clothes / "Eval" / "list_eval_partition.txt").rename(clothes / "list")
    (clothes / "Eval").rmdir()
    (clothes / folder).mkdir(exist_ok=True)
    (clothes / "list").rename(clothes / folder / "list_eval_partition.txt")
    (clothes / "Img" / "img").rename(clothes / "images")
    (clothes / "Img").rmdir()
    (clothes / images).parent.mkdir(exist_ok=True)
    (clothes / "images").rename(clothes / images)
    for data_dir in (clothes, clothes.parent, clothes / images):
        dataset = load("inshop", str(data_dir))
        assert all(path.startswith(f"{clothes / images}/") for path in dataset.train.paths)


def test_the_benchmarks_own_size_comes_first(clothes):
    for top in ("MEN", "WOMEN"):
        (clothes / "a" / "img_highres" / top).mkdir(parents=True)
    assert "/Img/img/" in load("inshop", str(clothes)).train.paths[0]


def test_an_unknown_status(clothes):
    partition = clothes / "Eval" / "list_eval_partition.txt"
    partition.write_text(partition.read_text().replace("query", "val", 1))
    message = r"evaluation_status of the form train\|query\|gallery in line 15 of .*received 'val'"
    with pytest.raises(ValueError, match=message):
        load("inshop", str(clothes))


@pytest.mark.parametrize("wrong", ["id_00000001", "id_00000009"])
def test_an_item_of_two_parts_or_without_its_gallery(clothes, wrong):
    partition = clothes / "Eval" / "list_eval_partition.txt"
    lines = partition.read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if line.endswith("id_00000005 query"))
    lines[first] = lines[first].replace("id_00000005 query", f"{wrong} query")
    partition.write_text("\n".join(lines))
    with pytest.raises(ValueError, match=f"received items that are not, .*{wrong}.* in .*Fetch"):
        load("inshop", str(clothes))


def test_the_list_of_another_benchmark_of_deepfashion(clothes):
    partition = clothes / "Eval" / "list_eval_partition.txt"
    partition.write_text("1\nimage_name  evaluation_status\nimg/a/img_1.jpg  train\n")
    with pytest.raises(ValueError, match="in line 2 of .*partition.txt; .*It is another file"):
        load("inshop", str(clothes))


@pytest.mark.parametrize("first", ["0", "25", "many"])
def test_another_number_of_images_than_promised(clothes, first):
    partition = clothes / "Eval" / "list_eval_partition.txt"
    partition.write_text(partition.read_text().replace("24", first, 1))
    with pytest.raises(ValueError, match=f"as its first line says, {first}; received 24"):
        load("inshop", str(clothes))


def test_a_list_without_images(clothes):
    partition = clothes / "Eval" / "list_eval_partition.txt"
    partition.write_text("0\nimage_name item_id evaluation_status\n")
    with pytest.raises(ValueError, match="0 of 4 query classes .* 0 of 8 gallery images"):
        load("inshop", str(clothes))


@pytest.mark.large
def test_a_list_of_full_size(tmp_path):
    """The official split has the sizes of the benchmark; images are empty files."""
    rows = []
    for status, first in (("train", 1), ("query", 3_998), ("gallery", 3_998)):
        num_items, num_images = inshop.COUNTS[status]
        for i in range(num_images):
            number = first + i * num_items // num_images
            folder = f"img/{('MEN', 'WOMEN')[number % 2]}/Tees_Tanks/id_{number:08}"
            rows.append((f"{folder}/{i:02}_{status}.jpg  ", f"id_{number:08}", status))
    images = [tmp_path / "Img" / path.strip() for path, *_ in rows]
    for folder in {image.parent for image in images}:
        folder.mkdir(parents=True)
    for image in images:
        image.touch()
    order = np.random.default_rng(0).permutation(len(rows))
    header = [(len(rows),), ("image_name", "item_id", "evaluation_status")]
    write_lines(tmp_path / "list_eval_partition.txt", header + [rows[i] for i in order])
    dataset = load("inshop", str(tmp_path))
    assert (len(dataset.train), dataset.train.num_classes) == (25_882, 3_997)
    assert (len(dataset.queries), dataset.queries.num_classes) == (14_218, 3_985)
    assert (len(dataset.gallery), dataset.gallery.num_classes) == (12_612, 3_985)
    items = [Path(path).parent.name for path in dataset.gallery.paths]
    assert items == [dataset.gallery.class_names[label] for label in dataset.gallery.labels]
    # Delete the many files, since pytest keeps those of its last runs.
    shutil.rmtree(tmp_path)
