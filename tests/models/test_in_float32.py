"""Float32 copies of models in mixed precision."""

import numpy as np
import pytest

from pa_keras.models import all_layers, embedding_model, in_float32

SIZE = (16, 16)


def pixels(count, seed=0):
    return np.random.default_rng(seed).uniform(0, 255, (count, *SIZE, 3)).astype("float32")


@pytest.mark.parametrize("name", ["mixed_bfloat16", "mixed_float16"])
def test_a_float32_copy_of_a_mixed_precision_model(policy, name):
    policy(name)
    mixed = embedding_model("conv4", 8, SIZE, weights=None)
    policy("float32")
    copy = in_float32(mixed)
    assert {layer.compute_dtype for layer in all_layers(copy)} == {"float32"}
    plain = embedding_model("conv4", 8, SIZE, weights=None)
    plain.set_weights(mixed.get_weights())
    np.testing.assert_array_equal(copy(pixels(3), training=False), plain(pixels(3), training=False))
    assert in_float32(plain) is plain
