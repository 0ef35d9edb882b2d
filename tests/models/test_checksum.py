"""Checksums of models."""

import keras

from pa_keras.models import checksum, embedding_model

SIZE = (16, 16)


def test_the_checksum_tells_models_apart(tmp_path):
    model = embedding_model("conv4", 8, SIZE, weights=None)
    before = checksum(model)
    model.save(tmp_path / "model.keras")
    assert checksum(keras.models.load_model(tmp_path / "model.keras")) == before
    larger = embedding_model("conv4", 8, (32, 16), weights=None)
    larger.set_weights(model.get_weights())
    assert checksum(larger) != before
    kernel, bias = model.get_layer("embedding").get_weights()
    kernel[0, 0] += 1e-6
    model.get_layer("embedding").set_weights([kernel, bias])
    assert checksum(model) != before
