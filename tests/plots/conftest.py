"""Fixtures for the tests of pictures."""

import numpy as np
import pytest
from PIL import Image

from pa_keras.datasets import Images


@pytest.fixture
def images(tmp_path):
    """Makes `Images` of one file per label, with class names that Matplotlib may take for TeX."""

    def make(folder, labels):
        (tmp_path / folder).mkdir()
        paths = [str(tmp_path / folder / f"{number}.png") for number in range(len(labels))]
        for number, path in enumerate(paths):
            Image.new("RGB", (20, 30), (0, number, 255)).save(path)
        names = ("$5 to $7", r"100% $\wrong$", "third")
        return Images(tuple(paths), np.array(labels, np.int32), names)

    return make
