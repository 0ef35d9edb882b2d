"""The examples in the docstrings run, and give what they say."""

import doctest
import importlib
import importlib.util
import pkgutil

import keras
import numpy as np
import pytest
import tensorflow as tf

import pa_keras

MODULES = [
    module.name
    for module in pkgutil.walk_packages(pa_keras.__path__, "pa_keras.")
    if not module.name.endswith("__main__") and ".configs" not in module.name
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, tmp_path, monkeypatch):
    if name == "pa_keras.kernels.torch" and importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed")
    monkeypatch.chdir(tmp_path)  # an example may write files
    module = importlib.import_module(name)
    known = {"keras": keras, "np": np, "tf": tf}
    result = doctest.testmod(module, extraglobs=known, optionflags=doctest.ELLIPSIS)
    assert result.failed == 0
