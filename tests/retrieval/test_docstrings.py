"""The examples in the docstrings run, and give what they say."""

import doctest
import importlib
import pkgutil

import pytest

from pa_keras import retrieval

MODULES = [each.name for each in pkgutil.iter_modules(retrieval.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(f"pa_keras.retrieval.{name}")
    assert doctest.testmod(module).failed == 0
