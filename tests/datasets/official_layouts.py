"""Writes small versions of the benchmarks in their official layouts.

Each writer fills a folder like the official archive, with `classes` classes of `images` images; the
first half of the classes is for training. Each class has its own colour and pattern.
`small_counts` lets the loaders accept such a set as complete.
"""

import colorsys
import itertools
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from pa_keras.datasets import cars196, cub200, inshop, sop

SIZE = (48, 40)
BOXES = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2")


def small_counts(monkeypatch, classes=8, images=3):
    """Replace the counts of the benchmarks by those of the small sets during a test."""
    half = classes // 2
    by_class = {"training": (half, half * images), "test": (half, half * images)}
    for module in (cars196, cub200, sop):
        monkeypatch.setattr(module, "COUNTS", by_class)
    searched = {"query": (half, half), "gallery": (half, half * (images - 1))}
    monkeypatch.setattr(inshop, "COUNTS", {"train": (half, half * images), **searched})


def write_cub200(root, classes=8, images=3):
    """Write `root` as `CUB_200_2011`; its own train/test flag is not by class."""
    root = Path(root)
    names = {c: f"{c:03}.Grey_Bird_{c}" for c in range(1, classes + 1)}
    each = [(c, i) for c in names for i in range(images)]
    paths = [f"{names[c]}/Grey_Bird_{c}_{i:04}_{7000 + c}.jpg" for c, i in each]
    for (c, i), path in zip(each, paths, strict=True):
        write_photograph(root / "images" / path, c, i, classes)
    write_lines(root / "images.txt", enumerate(paths, 1))
    write_lines(root / "image_class_labels.txt", enumerate((c for c, _ in each), 1))
    write_lines(root / "classes.txt", names.items())
    write_lines(root / "train_test_split.txt", enumerate((i % 2 for _, i in each), 1))
    return root


def write_sop(root, classes=8, images=3):
    """Write `root` as `Stanford_Online_Products`."""
    root = Path(root)
    rows = []
    for c in range(1, classes + 1):
        super_class, category = ((1, "bicycle"), (12, "toaster"))[c % 2]
        for i in range(images):
            path = f"{category}_final/{111085122870 + c}_{i}.JPG"
            write_photograph(root / path, c, i, classes)
            rows.append((len(rows) + 1, c, super_class, path))
    header = ("image_id", "class_id", "super_class_id", "path")
    first_test = classes // 2 * images
    write_lines(root / "Ebay_train.txt", [header, *rows[:first_test]])
    write_lines(root / "Ebay_test.txt", [header, *rows[first_test:]])
    return root


def write_inshop(root, classes=8, images=3):
    """Write `root` as the folder of In-Shop; the first image of each test item is the query."""
    root = Path(root)
    rows = []
    for c, i in itertools.product(range(1, classes + 1), range(images)):
        path = f"img/{('MEN', 'WOMEN')[c % 2]}/Tees_Tanks/id_{c:08}/{i + 1:02}_1_front.jpg"
        write_photograph(root / "Img" / path, c, i, classes)
        status = "train" if c <= classes // 2 else "gallery" if i else "query"
        rows.append((f"{path:<70}", f"id_{c:08}", status))
    header = ("image_name", "item_id", "evaluation_status")
    write_lines(root / "Eval" / "list_eval_partition.txt", [(len(rows),), header, *rows])
    return root


def write_cars196(root, classes=8, images=3, combined=False):
    """Write Cars-196 like the devkit, whose parts are not by class, or as one `combined` file."""
    root = Path(root)
    names = np.array([[f"Maker Model {c} 2012" for c in range(1, classes + 1)]], object)
    each = list(itertools.product(range(1, classes + 1), range(images)))
    if combined:
        paths = [f"car_ims/{n:06}.jpg" for n in range(1, len(each) + 1)]
        rows = [(*_box(i), c, path) for (c, i), path in zip(each, paths, strict=True)]
        write_mat(root / "cars_annos.mat", rows, "relative_im_path", class_names=names)
        for (c, i), path in zip(each, paths, strict=True):
            write_photograph(root / path, c, i, classes)
        return root
    for part, cars in (("train", each[::2]), ("test", each[1::2])):
        rows = []
        for number, (c, i) in enumerate(cars, 1):
            write_photograph(root / f"cars_{part}" / f"{number:05}.jpg", c, i, classes)
            rows.append((*_box(i), c, f"{number:05}.jpg"))
        labelled = "_withlabels" if part == "test" else ""
        write_mat(root / "devkit" / f"cars_{part}_annos{labelled}.mat", rows, "fname")
    savemat(root / "devkit" / "cars_meta.mat", {"class_names": names})
    return root


def write_photograph(path, c, i, classes):
    """Write a JPEG with the colour and stripes of class `c` (from 1), shaded by `i`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([c, i])
    colour = 220 * np.array(colorsys.hsv_to_rgb(c / classes, 0.8, 0.7 + 0.2 * rng.random()))
    stripes = np.arange(SIZE[0])[None, :, None] // (2 + c) % 2
    pixels = colour * (0.5 + 0.5 * stripes) + rng.integers(-12, 13, (SIZE[1], SIZE[0], 3))
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)


def write_lines(path, rows):
    """Write a text file with one row of words per line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(" ".join(map(str, row)) + "\n" for row in rows))


def write_mat(path, rows, name_field, **extra):
    """Write an annotation file of Cars-196 from rows of box, class (from 1) and file name."""
    table = np.zeros((1, len(rows)), [(field, object) for field in (*BOXES, "class", name_field)])
    for number, row in enumerate(rows):
        table[0, number] = row
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {"annotations": table, **extra})


def _box(i):
    return (3 + i, 2, SIZE[0] - 4, SIZE[1] - 2)
