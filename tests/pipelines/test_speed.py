"""The input pipeline stays well ahead of a plain loop: ratios in one run, never absolute times."""

import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pa_keras.pipelines import decode_image, evaluation_batches, training_batches
from pa_keras.pipelines.decoding import decode_jpeg

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


def median_ratio(ours, other, turns=5):
    """Of the seconds of `other` and of `ours`, in turns; the first does not count."""
    ratios = []
    for _ in range(turns + 1):
        seconds = []
        for work in (ours, other):
            started = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - started)
        ratios.append(seconds[1] / seconds[0])
    return np.median(ratios[1:])


def test_training_batches_against_a_loop_of_pillow(paths):
    batches = training_batches(
        paths, np.zeros(96, int), batch_size=32, image_size=SIZE, seed=0
    ).take(3)

    def loop():
        for path in paths:
            image = Image.open(path).convert("RGB").crop((50, 50, 400, 350))
            np.asarray(image.resize(SIZE, Image.Resampling.BILINEAR), np.float32)

    assert median_ratio(lambda: list(batches), loop) > 0.7


def test_kept_evaluation_batches_are_not_decoded_again(paths):
    options = {"batch_size": 32, "image_size": SIZE}
    kept, anew = (evaluation_batches(paths, keep=keep, **options) for keep in (True, False))
    list(kept)
    assert median_ratio(lambda: list(kept), lambda: list(anew)) > 3


def test_formats_that_are_not_there_cost_little(paths):
    files = tf.constant([Path(path).read_bytes() for path in paths])

    def decoded(decode):
        data = tf.data.Dataset.from_tensor_slices(files).map(lambda x: decode(x)[0, 0])
        return lambda: list(data.batch(96))

    assert median_ratio(decoded(decode_image), decoded(decode_jpeg)) > 0.4
