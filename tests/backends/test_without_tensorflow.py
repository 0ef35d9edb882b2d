"""What needs TensorFlow says so where it is not installed, on the backend that is set."""

import importlib.util

import keras
import pytest

import pa_keras

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is not None, reason="TensorFlow is installed"
)


@pytest.mark.parametrize("name", ["embed_images", "open_index", "exporters", "pipelines"])
def test_names_that_need_tensorflow(name):
    backend = keras.backend.backend()
    message = f"needs tensorflow, which is not installed, also on the {backend} backend"
    with pytest.raises(ImportError, match=message):
        getattr(pa_keras, name)


def test_pipelines_of_tensorflow():
    with pytest.raises(ImportError, match="pa_keras.pipelines needs tensorflow, which is not inst"):
        from pa_keras.pipelines import training_batches  # noqa: F401


def test_all_other_public_names_are_there():
    for name in set(pa_keras.__all__) - {"embed_images", "open_index"}:
        assert getattr(pa_keras, name) is not None
