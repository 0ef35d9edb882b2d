"""Fixtures that several test files share."""

import sys

import pa_keras

# As the commands do, so that a test may compare a command in a process of its own with this one.
if "tensorflow" not in sys.modules:
    pa_keras.tune_cpu()

import keras
import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def photos(tmp_path):
    """Ten class folders of six small images; a class is a colour, an image one shade of it."""
    rng = np.random.default_rng(0)
    root = tmp_path / "photos"
    for number in range(10):
        colour = rng.integers(40, 215, 3)
        (root / f"class {number}").mkdir(parents=True)
        for image in range(6):
            pixels = colour + rng.integers(-30, 30, (20, 24, 3))
            Image.fromarray(pixels.astype("uint8")).save(root / f"class {number}" / f"{image}.png")
    return root


@pytest.fixture
def float32_policy():
    """Puts the dtype policy back after a test of a command, which sets it."""
    before = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(before)
