"""A saved memory whose class IDs the backend cannot hold is refused, and never merged."""

import keras
import numpy as np
import pytest

from pa_keras import CrossBatchMemory


def test_class_ids_of_a_saved_memory():
    memory = CrossBatchMemory(2)
    memory.build((None, 3))
    ids = np.array([2**32 + 1, 1])
    # As a file of TensorFlow or torch stores it: queue, labels, next slot, filled slots, steps.
    store = {"0": np.ones((2, 3), "float32"), "1": ids, "2": 0, "3": 2, "4": 5}
    if keras.backend.backend() == "jax":
        with pytest.raises(ValueError, match="Expected class IDs as integers that int32 can hold"):
            memory.load_own_variables(store)
        store["1"] = ids = np.array([7, 1])
    memory.load_own_variables(store)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(memory.labels), ids)
    assert int(memory.filled) == 2
