"""The CSV file of suspects, and the images that are searched together."""

import csv

import numpy as np
import pytest

from pa_keras.datasets import Images
from pa_keras.reports.suspects import as_line, together, write_suspects
from pa_keras.retrieval import Suspect, Suspects

NAMES = ('a, "b"', "line\nbreak", "é;c")


def suspects(rows, alone=0):
    return Suspects(rows, alone, np.zeros((4, 1), np.int32))


def test_names_with_commas_and_quotes_and_relative_paths(tmp_path):
    paths = tuple(str(tmp_path / name) for name in ("x/1,2.png", "x/2.png", "y/1.png", "y/2.png"))
    images = Images(paths, [0, 1, 2, 2], NAMES)
    rows = [Suspect("duplicate", 1.0, 0, 1), Suspect("label", 0.75, 2, 0)]
    write_suspects(suspects(rows), images, tmp_path / "a.csv")
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    columns = ["kind", "score", "path", "class_name", "other_path", "other_class_name"]
    assert [list(row.values()) for row in read] == [
        ["duplicate", "1.0000", "x/1,2.png", NAMES[0], "x/2.png", NAMES[1]],
        ["label", "0.7500", "y/1.png", NAMES[2], "x/1,2.png", NAMES[0]],
    ]
    assert list(read[0]) == columns
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv"]


def test_classes_of_all_parts_are_joined_by_name():
    train = Images(("/1", "/2"), [0, 1], ("cat", "dog"))
    queries = Images(("/3", "/4"), [1, 0], ("dog", "owl"))
    gallery = Images(("/5", "/6", "/7"), [0, 1, 1], ("dog", "owl"))
    joined = together([train, queries, gallery])
    assert joined.paths == tuple(f"/{number}" for number in range(1, 8))
    names = [joined.class_names[label] for label in joined.labels]
    assert names == ["cat", "dog", "owl", "dog", "dog", "owl", "owl"]
    assert joined.num_classes == 3


@pytest.mark.parametrize("alone", [0, 2])
def test_the_line_counts_each_kind(alone):
    images = Images(("/1", "/2"), [0, 1], ("cat", "dog"))
    line = as_line(suspects([Suspect("label", 0.8, 0, 1)] * 3, alone), images)
    assert "among 2 images" in line and "3 labels, 0 near-dup" in line and "0 pairs" in line
    assert ("2 images are alone in their class" in line) == bool(alone)
