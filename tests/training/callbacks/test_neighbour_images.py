"""The pictures in TensorBoard, read back from its event files."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing import event_accumulator

from pa_keras.datasets import Images
from pa_keras.pipelines import evaluation_batches
from pa_keras.training import RecallAtK
from pa_keras.training.callbacks.neighbour_images import NeighbourPictures


@pytest.fixture
def images(photos):
    paths = [str(path) for path in sorted(photos.rglob("*.png")) if path.parent.name < "class 4"]
    return Images(tuple(paths), np.repeat(range(4), 6), ("a", "b", "c", "d"))


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((20, 24, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs))
    model = keras.Model(inputs, keras.layers.UnitNormalization()(keras.layers.Dense(4)(x)))
    model.compile("sgd", "mse")
    return model


def fit(model, callbacks, epochs, initial_epoch=0):
    x, y = np.zeros((2, 20, 24, 3), "float32"), np.zeros((2, 4))
    model.fit(x, y, epochs=epochs, initial_epoch=initial_epoch, callbacks=callbacks, verbose=0)


def recall(images, **options):
    batches = evaluation_batches(images.paths, batch_size=8, image_size=(20, 24), crop_fraction=1.0)
    return RecallAtK((batches, images.labels), **options)


def pictures(folder):
    events = event_accumulator.EventAccumulator(str(folder), {"tensors": 0})
    events.Reload()
    if not events.Tags()["tensors"]:
        return {}
    return {
        event.step: tf.io.decode_png(event.tensor_proto.string_val[2]).numpy()
        for event in events.Tensors("neighbours")
    }


def test_one_picture_an_evaluated_epoch_of_what_was_found(images, model, tmp_path):
    measured = recall(images, every=2)
    callback = NeighbourPictures(measured, images, None, tmp_path / "log", num_queries=4)
    fit(model, [measured, callback], epochs=4)
    fit(model, [measured, callback], epochs=6, initial_epoch=4)  # the next phase of a run
    found = pictures(tmp_path / "log")
    assert sorted(found) == [0, 1, 3, 5], "as RecallAtK measures"
    assert measured.indices.shape == (24, 8)
    height, width, _ = found[5].shape
    assert found[5].dtype == np.uint8 and width == pytest.approx(5 * 1.58 * 70, abs=10)
    right = measured.indices[callback.chosen, :4] // 6 == callback.chosen[:, None] // 6
    green = (found[5] == (0, 128, 0)).all(axis=-1)
    red = (found[5] == (255, 0, 0)).all(axis=-1)
    for column, of_column in enumerate(right.T, start=1):
        part = slice(column * width // 5, (column + 1) * width // 5)
        assert green[:, part].any() == of_column.any()
        assert red[:, part].any() == (~of_column).any()


def test_nothing_is_drawn_of_a_model_that_gives_nan(images, model, tmp_path):
    model.layers[-2].set_weights([np.full((3, 4), np.nan), np.zeros(4)])
    measured = recall(images)
    callback = NeighbourPictures(measured, images, None, tmp_path / "log")
    fit(model, [measured, callback], epochs=1)
    assert measured.indices is None and not (tmp_path / "log").exists()
