"""Tests the curves of a run by reading their pixels."""

import numpy as np
import pytest
from PIL import Image

from pa_keras import plots


def count(picture, colour):
    return int((picture == colour).all(axis=-1).sum())


@pytest.mark.parametrize("with_recall", [True, False])
def test_curves(tmp_path, with_recall):
    recall = {"recall_at_1": 0.5, "recall_at_2": 0.7} if with_recall else {}
    rows = [{"epoch": epoch, "loss": 9.0 - epoch, **recall} for epoch in range(3)]
    plots.curves(rows, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as image:
        left, right = np.array_split(np.asarray(image.convert("RGB")), 2, axis=1)
    first_colour = (31, 119, 180)  # the first one of Matplotlib's color cycle
    assert count(left, first_colour) == 0
    assert (count(right, first_colour) > 0) == with_recall
