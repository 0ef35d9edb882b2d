"""Tests the curves of pairs by reading their pixels."""

import numpy as np
from PIL import Image

from pa_keras import plots
from pa_keras.retrieval import as_pairs, pair_rates


def count(picture, colour):
    return int((picture == colour).all(axis=-1).sum())


def test_both_curves_of_both_sets_are_drawn(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 6
    found = {}
    for name, noise in (("held-out classes", 0.4), ("test classes", 0.9)):
        points = np.eye(6)[labels] + noise * rng.normal(size=(60, 6))
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        found[name] = pair_rates(as_pairs(points, labels), wanted=0.05)
    plots.pair_curves(found, tmp_path / "roc.png")
    with Image.open(tmp_path / "roc.png") as image:
        halves = np.array_split(np.asarray(image.convert("RGB")), 2, axis=1)
    for half in halves:
        for colour in ((31, 119, 180), (255, 127, 14)):  # the first two of Matplotlib's cycle
            assert count(half, colour) > 100
