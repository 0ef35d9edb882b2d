"""Tests the speed of batches kept in memory, by ratios within one run, not absolute times."""

import time

import numpy as np
import pytest
from PIL import Image

from pa_keras.pipelines import evaluation_batches

pytestmark = pytest.mark.large
SIZE = (128, 128)


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """96 JPEGs of 500 x 400 with some detail."""
    folder, rng = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    files = []
    for i in range(96):
        coarse = Image.fromarray(rng.integers(0, 256, (50, 63, 3), np.uint8))
        files.append(str(folder / f"{i}.jpg"))
        coarse.resize((500, 400), Image.Resampling.BICUBIC).save(files[-1], quality=90)
    return files


def median_ratio(ours, other, turns=3):
    """Returns the median ratio of processor seconds, which other jobs hardly affect."""
    ratios = []
    for _ in range(turns + 1):  # the first turn does not count
        seconds = []
        for work in (ours, other):
            started = time.process_time()
            work()
            seconds.append(time.process_time() - started)
        ratios.append(seconds[1] / seconds[0])
    return np.median(ratios[1:])


def test_kept_evaluation_batches_are_not_decoded_again(paths):
    options = {"batch_size": 32, "image_size": SIZE}
    kept, decoded = (evaluation_batches(paths, keep=keep, **options) for keep in (True, False))
    list(kept)
    assert median_ratio(lambda: list(kept), lambda: list(decoded)) > 3
