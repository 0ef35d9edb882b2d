"""Reads In-Shop Clothes Retrieval (DeepFashion) in its official layout, with its own split."""

import os
from pathlib import Path

from pa_keras.datasets._annotations import IMAGE_NAME, read_lines, read_table
from pa_keras.datasets._official_checks import check_counts, check_files, some
from pa_keras.datasets._official_folders import find_set, folders_near, not_found
from pa_keras.datasets.images import Dataset, label_images
from pa_keras.datasets.splits import split_as_given

COUNTS = {"train": (3_997, 25_882), "query": (3_985, 14_218), "gallery": (3_985, 12_612)}

INSHOP_WHERE = """
Get Img/img.zip and Eval/list_eval_partition.txt of the In-shop Clothes Retrieval Benchmark from
https://mmlab.ie.cuhk.edu.hk/projects/DeepFashion/InShopRetrieval.html
Expected:
    {root}/
        Eval/list_eval_partition.txt    (or in Anno/, or here)
        Img/img/MEN/..., Img/img/WOMEN/...    (or img/, or img_highres/)"""

_TITLE, _LIST = "In-Shop Clothes Retrieval", "list_eval_partition.txt"
_COLUMNS = {
    "image_name": IMAGE_NAME,
    "item_id": ".+",
    "evaluation_status": "train|query|gallery",
}


def load_inshop(data_dir: str) -> Dataset:
    """Read In-Shop Clothes Retrieval: 25,882 training images of 3,997 classes, and 14,218 queries
    that search a gallery of 12,612 images, both of 3,985 other classes.

    Args:
        data_dir: The folder above `Eval/` and `Img/` (or a folder one level above or below).

    Raises:
        FileNotFoundError: Annotations or images are missing; the message says where to get them.
        ValueError: The annotations are broken, or the number of images is wrong.

    Example:
        >>> load_inshop("In-shop").gallery  # doctest: +SKIP
        Images(12612 images, 3985 classes)
    """
    inside = "img|img_highres|anno|eval|women|men"
    partition = find_set(_TITLE, data_dir, [_LIST], inside, INSHOP_WHERE) / _LIST
    names, items, splits = _read_partition(partition)
    classes = {
        part: [item for item, split in zip(items, splits, strict=True) if split == part]
        for part in COUNTS
    }
    title = f"{_TITLE} in {partition.parent}"
    check_counts(title, COUNTS, classes)
    _check_items(partition, {part: {*of_part} for part, of_part in classes.items()})
    folder = _image_folder(partition, names[0])
    paths = [os.path.join(folder, name) for name in names]
    check_files(title, paths)
    return split_as_given("inshop", label_images(paths, items), splits)


def _read_partition(partition: Path) -> tuple[list[str], list[str], list[str]]:
    """Returns the name of each image below the folder `img`, its item and its split."""
    rows = read_table(partition, _COLUMNS, header=2)
    promised = read_lines(partition)[0].strip()
    if promised != str(len(rows)):
        raise ValueError(
            f"Expected as many images in {partition} as its first line says, {promised}; received "
            f"{len(rows)}. Fetch the file again: it was cut short, or changed."
        )
    names = [name.removeprefix("img/") for name, _, _ in rows]
    return names, [item for _, item, _ in rows], [status.lower() for _, _, status in rows]


def _check_items(partition: Path, items: dict[str, set[str]]) -> None:
    both = sorted(items["train"] & (items["query"] | items["gallery"]))
    alone = sorted(items["query"] ^ items["gallery"])
    if both or alone:
        raise ValueError(
            "Expected each item either in train, or in both query and gallery; received items that "
            f"are not, {some(both + alone)}, in {partition}. Fetch the file again."
        )


def _image_folder(partition: Path, name: str) -> Path:
    """Returns the folder that image names are relative to; the standard image size comes first."""
    root = partition.parent
    if root.name.lower() in ("eval", "anno"):
        root = root.parent
    # Look for MEN or WOMEN, since the image itself may be missing.
    top = name.partition("/")[0]
    for called in ("img", "img_highres"):
        for folder in folders_near(root):
            if folder.name.lower() == called and (folder / top).is_dir():
                return folder
    raise not_found(_TITLE, root, f"img/{top}", INSHOP_WHERE)
