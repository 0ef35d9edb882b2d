"""Tests of training and evaluation batches of small files."""

import itertools
import logging
import os
import re
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pa_keras.pipelines import (
    WorkerShare,
    balanced,
    decode_image,
    evaluation_batches,
    evaluation_image,
    fill_cache,
    shuffled,
    steps_per_epoch,
    training_batches,
)

SIZE = (24, 32)
LABELS = np.arange(23) % 4


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """23 JPEG and PNG images, each of a different colour and size."""
    folder, files = tmp_path_factory.mktemp("images"), []
    for i in range(len(LABELS)):
        files.append(str(folder / f"{i}.{'png' if i % 5 == 0 else 'jpg'}"))
        ramp = np.add.outer(np.arange(30 + i), np.arange(40 - i // 2))[..., None]
        Image.fromarray((ramp + [5 * i, 0, 100]).astype(np.uint8)).save(files[-1])
    return files


def taken(paths, steps, **options):
    settings = {"batch_size": 6, "image_size": SIZE, "seed": 7, "endless": True, **options}
    batches = training_batches(paths, LABELS, **settings)
    return list(itertools.islice(batches.as_numpy_iterator(), steps))


@pytest.fixture(scope="module")
def plain(paths):
    """Three epochs with the default options."""
    return taken(paths, 3 * steps_per_epoch(len(LABELS), 6))


def assert_same(left, right):
    for (images, labels), (other_images, other_labels) in zip(left, right, strict=True):
        np.testing.assert_array_equal(images, other_images)
        np.testing.assert_array_equal(labels, other_labels)


def test_shapes_are_static(paths):
    settings = {"batch_size": 6, "image_size": SIZE, "seed": 0}
    batches = training_batches(paths, LABELS, **settings)
    assert batches.element_spec == (
        tf.TensorSpec((6, *SIZE, 3), tf.float32),
        tf.TensorSpec((6,), tf.int32),
    )
    assert batches.cardinality() == 3
    endless = training_batches(paths, LABELS, endless=True, **settings)
    assert endless.cardinality() == tf.data.INFINITE_CARDINALITY
    images, _ = next(iter(batches))
    assert tf.reduce_min(images) >= 0 and tf.reduce_max(images) <= 255


def test_order_is_the_samplers(plain):
    labels = [labels for _, labels in plain]
    expected = np.concatenate([LABELS[shuffled(23, 6, 7, epoch)] for epoch in range(3)])
    np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize("given", [(2, 3), (2, None), (None, 3)])
def test_balanced_order(paths, given):
    classes, images = given
    labels = [b[1] for b in taken(paths, 3, classes_per_batch=classes, images_per_class=images)]
    np.testing.assert_array_equal(labels, LABELS[balanced(LABELS, 2, 3, 7, 0)])


def test_repeats_and_resumes(paths, plain):
    assert_same(plain, taken(paths, len(plain)))
    assert_same(plain[3:], taken(paths, len(plain) - 3, first_epoch=1))
    other = taken(paths, 1, seed=8)
    assert np.abs(plain[0][0] - other[0][0]).max() > 1


@pytest.mark.parametrize("at", [(0, 1), (0, 2), (1, 2), (1, 3)])
def test_resumes_in_the_middle_of_an_epoch(paths, plain, at):
    epoch, step = at
    done = 3 * epoch + step
    resumed = taken(paths, len(plain) - done, first_epoch=epoch, first_step=step)
    assert_same(plain[done:], resumed)


def test_augmentation_resumes(paths, plain):
    options = {"augmentation": "random_brightness", "augmentation_options": {"factor": 0.5}}
    augmented = taken(paths, 6, **options)
    assert np.abs(augmented[0][0] - plain[0][0]).max() > 1
    assert_same(augmented[3:], taken(paths, 3, **options, first_epoch=1))
    assert_same(augmented[4:], taken(paths, 2, **options, first_epoch=1, first_step=1))


def test_an_image_is_cut_differently_in_each_epoch(plain):
    images = np.concatenate([images for images, _ in plain])
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) == len(images)


@pytest.mark.parametrize("cache", ["files", "pixels"])
def test_caches_change_nothing(paths, plain, cache, caplog):
    with caplog.at_level(logging.WARNING):
        cached = taken(paths, 4, cache=cache)
    for (kept, labels), (read, same) in zip(cached, plain[:4], strict=True):
        # If only a window of a JPEG is decoded, the colour at its edge is smoothed differently.
        assert np.abs(kept - read).mean() < (0.5 if cache == "pixels" else 1e-6)
        np.testing.assert_array_equal(labels, same)
    said = "pixels of 23 images stay in memory: about 0.0 GB" in caplog.text
    assert said == (cache == "pixels")


@pytest.mark.parametrize("kind", ["files", "pixels"])
def test_a_filled_cache_is_shared(paths, tmp_path, kind):
    copies = [str(shutil.copy(path, tmp_path)) for path in paths]
    cache = fill_cache(copies, kind)
    expected = taken(paths, 4, cache=kind)
    for copy in copies:
        os.remove(copy)
    assert_same(taken(copies, 4, cache=cache), expected)
    assert_same(taken(copies, 1, cache=cache, first_epoch=1), expected[3:])


def test_a_cache_of_other_paths(paths):
    with pytest.raises(ValueError, match="these 23 paths; received a cache of 23 other paths"):
        taken(paths, 1, cache=fill_cache(paths[::-1], "none"))


def test_evaluation_is_in_order_and_whole(paths):
    batches = list(evaluation_batches(paths, batch_size=10, image_size=SIZE))
    assert [len(batch) for batch in batches] == [10, 10, 3]
    for path, image in zip(paths, np.concatenate(batches), strict=True):
        expected = evaluation_image(decode_image(tf.io.read_file(path)), SIZE, 0.875)
        np.testing.assert_allclose(image, expected, atol=1e-3)


def test_kept_batches_are_the_decoded_ones_to_the_bit(paths, tmp_path):
    copies = [str(shutil.copy(path, tmp_path)) for path in paths]
    options = {"batch_size": 10, "image_size": SIZE}
    expected = list(evaluation_batches(paths, **options).as_numpy_iterator())
    kept = evaluation_batches(copies, keep=True, **options)
    next(iter(kept))  # an interrupted pass keeps nothing
    for _ in range(2):
        received = list(kept.as_numpy_iterator())
        for one, other in zip(received, expected, strict=True):
            np.testing.assert_array_equal(one, other)
        shutil.rmtree(tmp_path, ignore_errors=True)  # the second pass reads no file


@pytest.mark.parametrize("options", [{}, {"first_epoch": 2}, {"augmentation": "random_rotation"}])
def test_each_pass_is_the_next_epoch(paths, options):
    if "augmentation" in options:
        options = {**options, "augmentation_options": {"factor": 0.5}}
    passes = training_batches(paths, LABELS, batch_size=6, image_size=SIZE, seed=7, **options)
    received = [list(passes.as_numpy_iterator()) for _ in range(2)]
    assert [len(each) for each in received] == [3, 3]
    assert_same(sum(received, []), taken(paths, 6, **options))
    repeated = training_batches(paths, LABELS, batch_size=6, image_size=SIZE, seed=7, **options)
    assert_same(list(itertools.islice(repeated.repeat().as_numpy_iterator(), 6)), sum(received, []))


@pytest.mark.parametrize("steps", [None, 3])
def test_fit_ends_its_epochs(paths, steps):
    """This also works without `steps_per_epoch`, and the second epoch has another order."""
    layers = [keras.Input((*SIZE, 3)), keras.layers.Flatten(), keras.layers.Dense(1)]
    model = keras.Sequential(layers)
    seen = []

    def loss(labels, outputs):
        tf.py_function(lambda each: seen.append(each.numpy().ravel()), [labels], [])
        return tf.reduce_mean(outputs, axis=-1)

    model.compile("sgd", loss, jit_compile=False)
    batches = training_batches(paths, LABELS, batch_size=6, image_size=SIZE, seed=7)
    model.fit(batches, steps_per_epoch=steps, epochs=2, shuffle=False, verbose=0)
    expected = np.concatenate([LABELS[shuffled(23, 6, 7, epoch)] for epoch in range(2)])
    np.testing.assert_array_equal(seen, expected)


def test_paths_and_sizes_in_other_forms(paths, plain):
    objects = [Path(path) for path in paths]
    sizes = (24, np.int64(24), (np.int32(24), 24))
    for size in sizes:
        batches = training_batches(objects, LABELS, batch_size=6, image_size=size, seed=7)
        assert next(iter(batches))[0].shape == (6, 24, 24, 3)
        assert next(iter(evaluation_batches(objects, batch_size=4, image_size=size))).shape[1] == 24
    assert_same(taken(objects, 2), plain[:2])
    assert_same(taken(objects, 2, cache=fill_cache(paths, "files")), plain[:2])
    parts = list(
        evaluation_batches(
            objects, batch_size=6, image_size=SIZE, share=WorkerShare(3, 1, 1), keep=True
        )
    )
    assert len(parts) == 4
    for make in (evaluation_batches, lambda path, **_: fill_cache(path, "none")):
        with pytest.raises(ValueError, match="Expected a list of paths; received .* Write"):
            make(objects[0], batch_size=4, image_size=SIZE)


def test_a_name_that_is_not_utf8_is_read(paths, tmp_path):
    name = os.fsdecode(os.path.join(os.fsencode(tmp_path), b"caf\xe9.png"))
    shutil.copy(paths[0], name)
    images = next(iter(evaluation_batches([name], batch_size=1, image_size=SIZE)))
    expected = next(iter(evaluation_batches(paths[:1], batch_size=1, image_size=SIZE)))
    np.testing.assert_array_equal(images, expected)


def dark(paths, folder):
    """The images, saved after division by 255."""
    files = []
    for path in paths:
        files.append(str(folder / f"{Path(path).stem}.png"))
        Image.fromarray((np.asarray(Image.open(path)) / 255).astype(np.uint8)).save(files[-1])
    return files


@pytest.mark.parametrize("cache", ["none", "files", "pixels"])
def test_batches_in_0_to_1_are_warned_of(paths, tmp_path, caplog, cache):
    files = dark(paths, tmp_path)
    training_batches(files, LABELS, batch_size=6, image_size=SIZE, seed=0, cache=cache)
    assert caplog.text.count("All pixels of a batch are in [0, 1]") == 1
    evaluation_batches(files, batch_size=6, image_size=SIZE)
    assert caplog.text.count("All pixels of a batch are in [0, 1]") == 2


@pytest.mark.parametrize("name", ["RandAugment", "random_brightness"])
def test_an_augmentation_that_rescales_is_warned_of(paths, caplog, name):
    options = {"augmentation": name, "augmentation_options": {"value_range": (0, 1), "factor": 0.1}}
    taken(paths, 1, **options)
    assert "The augmentation brings images to [0, 1]" in caplog.text
    caplog.clear()
    taken(paths, 1, augmentation=name, augmentation_options={"factor": 0.1})
    assert not caplog.records


def test_nothing_is_said_of_a_dark_image_among_others(paths, tmp_path, caplog):
    files = [*dark(paths[:1], tmp_path), *paths[1:]]
    list(training_batches(files, LABELS, batch_size=23, image_size=SIZE, seed=0))
    list(evaluation_batches(files, batch_size=23, image_size=SIZE))
    assert not caplog.records


def test_steps_per_epoch():
    assert steps_per_epoch(23, 6) == 3
    assert steps_per_epoch(24, 6) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 24}, "a batch of 24 for 23 images; lower"),
        ({"classes_per_batch": 6, "images_per_class": 1}, "at least classes_per_batch = 6"),
        ({"classes_per_batch": 4}, "4 x 1 for a batch of 6; change"),
        ({"images_per_class": 12}, "0 x 12 for a batch of 6; change"),
        ({"cache": "disk"}, 'cache "none", "files" or "pixels"; received "disk"'),
        ({"augmentation": "RandAugmnt"}, "nearest: RandAugment"),
        ({"batch_size": 0}, "batch_size of at least 1; received 0"),
        ({"classes_per_batch": 0}, "classes_per_batch of at least 1; received 0"),
        ({"images_per_class": 0}, "images_per_class of at least 1; received 0"),
        ({"classes_per_batch": -2, "images_per_class": -3}, "at least 1; received -2"),
        ({"area": (20, 100)}, r"0 < low <= high <= 1; received \(20, 100\); write it as shares"),
        ({"area": (0.0, 1.0)}, r"area = .* received \(0.0, 1.0\)"),
        ({"area": (0.5, 0.2)}, r"area = .* received \(0.5, 0.2\)"),
        ({"ratio": (0, 1)}, r"ratio = .* received \(0, 1\); write it as width / height"),
        (
            {"endless": False, "first_step": 1},
            "endless=True with a first_step; received first_step",
        ),
        ({"image_size": 0}, "image_size as a number of pixels .* received 0"),
        ({"image_size": (32, 32, 3)}, r"image_size as .* received \(32, 32, 3\)"),
        ({"image_size": 32.5}, "image_size as .* received 32.5"),
        ({"ratio": (2.0, 0.5)}, r"ratio = .* received \(2.0, 0.5\)"),
    ],
)
def test_bad_arguments(paths, options, message):
    with pytest.raises(ValueError, match=f"^Expected .*{message}"):
        taken(paths, 1, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size of at least 1; received 0"),
        ({"crop_fraction": 0.0}, "crop_fraction in (0, 1]; received 0.0"),
        ({"crop_fraction": 1.5}, "crop_fraction in (0, 1]; received 1.5"),
    ],
)
def test_bad_arguments_of_the_evaluation(paths, options, message):
    with pytest.raises(ValueError, match=f"^Expected {re.escape(message)}"):
        evaluation_batches(paths, **{"batch_size": 4, "image_size": SIZE, **options})


@pytest.mark.parametrize("images", [np.zeros((4, 8, 8, 3)), [1, 2, 3, 4]])
def test_what_is_no_list_of_paths(images):
    with pytest.raises(ValueError, match="Expected the paths of image files; received a list"):
        training_batches(images, [0, 0, 1, 1], batch_size=2, image_size=8, seed=0)
    with pytest.raises(ValueError, match="Expected the paths of image files; received a list"):
        evaluation_batches(images, batch_size=2, image_size=8)


def test_a_label_for_each_path(paths):
    with pytest.raises(ValueError, match="received 22 paths and 23 labels"):
        training_batches(paths[1:], LABELS, batch_size=2, image_size=SIZE, seed=0)


@pytest.mark.parametrize("options", [{}, {"classes_per_batch": 2}, {"first_epoch": 1}])
def test_the_parts_of_two_workers_are_those_of_the_whole_batches(paths, options):
    """The crops of each image are the same too, as they depend on its place in the batch."""
    whole = taken(paths, 3, **options)
    parts = [taken(paths, 3, share=WorkerShare(2, first, 1), **options) for first in range(2)]
    assert_same(joined(*parts), whole)
    both = taken(paths, 6, share=WorkerShare(2, 0, 2), **options)
    assert_same(joined(both[::2], both[1::2]), whole)


def test_parts_are_augmented_each_for_itself(paths):
    settings = {"batch_size": 2, "augmentation": "random_rotation", "area": (1.0, 1.0)}
    settings["augmentation_options"] = {"factor": 0.5}
    draws = [taken(paths, 2, share=WorkerShare(2, first, 1), **settings) for first in range(2)]
    both = taken(paths, 4, share=WorkerShare(2, 0, 2), **settings)
    assert_same(both[::2], draws[0])
    assert_same(both[1::2], draws[1])


def test_the_parts_of_an_evaluation_are_its_images_in_order(paths):
    settings = {"batch_size": 6, "image_size": SIZE}
    whole = np.concatenate(list(evaluation_batches(paths, **settings).as_numpy_iterator()))
    parts = [
        list(
            evaluation_batches(
                paths, share=WorkerShare(3, first, 1), **settings
            ).as_numpy_iterator()
        )
        for first in range(3)
    ]
    steps = [np.concatenate(step) for step in zip(*parts, strict=True)]
    assert len({step.shape for step in steps}) == 1
    np.testing.assert_array_equal(np.concatenate(steps)[: len(paths)], whole)


def joined(*workers):
    return [
        tuple(np.concatenate(each) for each in zip(*parts, strict=True))
        for parts in zip(*workers, strict=True)
    ]
