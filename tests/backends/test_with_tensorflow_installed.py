"""The pipelines of TensorFlow feed models of the backend that is set, where both are installed."""

import keras
import numpy as np
import pytest

from pa_keras import ProxyAnchorLoss, RecallAtK, embedding_model, with_proxies

pytest.importorskip("tensorflow", reason="TensorFlow is not installed")


def test_images_of_files_and_arrays(photos):
    from pa_keras import embed_images
    from pa_keras.pipelines import evaluation_batches

    model = embedding_model("conv4", 8, (16, 16), weights=None, seed=0)
    paths = [str(file) for file in sorted(photos.rglob("*.png"))[:5]]
    (batch,) = evaluation_batches(paths, batch_size=5, image_size=(16, 16), crop_fraction=0.875)
    expected = keras.ops.convert_to_numpy(model(np.asarray(batch), training=False))
    np.testing.assert_allclose(embed_images(model, paths), expected, atol=1e-5)


def test_batches_of_files_in_fit(photos):
    from pa_keras.pipelines import evaluation_batches, training_batches

    files = sorted(photos.rglob("*.png"))
    paths, labels = [str(file) for file in files], np.repeat(np.arange(10), 6)
    options = {"batch_size": 20, "image_size": (16, 16)}
    batches = training_batches(paths, labels, seed=0, **options)
    model = with_proxies(embedding_model("conv4", 8, (16, 16), weights=None, seed=0), 10)
    model.compile("adam", ProxyAnchorLoss(num_classes=10))
    recall = RecallAtK((evaluation_batches(paths, crop_fraction=0.875, **options), labels), ks=1)
    options = {"steps_per_epoch": 3, "epochs": 2, "verbose": 0, "shuffle": False}
    history = model.fit(batches, callbacks=[recall], **options).history
    assert history["loss"][1] < history["loss"][0]
    assert 0 < history["recall_at_1"][-1] <= 1
