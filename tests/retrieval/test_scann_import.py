"""ScaNN is imported without its TensorFlow operations, and leaves no trace if that fails."""

import importlib
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf

from pa_keras.retrieval import scann_import
from pa_keras.retrieval.scann_import import ScannUnusableError, load_scann


@pytest.fixture(autouse=True)
def scann_is_not_imported(monkeypatch):
    try:
        load_scann()
    except ScannUnusableError:
        pytest.skip("ScaNN is for Linux x86-64 only")
    for name in [name for name in sys.modules if name.split(".")[0] == "scann"]:
        monkeypatch.delitem(sys.modules, name)


class Finder:
    """Calls `look(name)` before any module of ScaNN is looked for."""

    def __init__(self, look):
        self.look = look

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "scann":
            self.look(name)


def watch(monkeypatch, look):
    monkeypatch.setattr(sys, "meta_path", [Finder(look), *sys.meta_path])


def answers(scann):
    """The nearest neighbour of each of 50 vectors by a brute-force searcher: itself."""
    points = np.random.default_rng(0).normal(size=(50, 8)).astype("float32")
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    searcher = scann.builder(points, 2, "dot_product").score_brute_force().build()
    return searcher.search_batched(points)[0][:, 0].tolist()


def test_scann_built_for_another_tensorflow_is_used(monkeypatch):
    def load_op_library(path):
        raise tf.errors.NotFoundError(None, None, f"{path}: undefined symbol")

    monkeypatch.setattr(tf, "load_op_library", load_op_library)
    monkeypatch.setattr(tf, "__version__", "2.99.0")
    module = load_scann()
    assert answers(module) == list(range(50))
    assert "scann" not in sys.modules and sys.modules["tensorflow"] is tf
    with pytest.raises(tf.errors.NotFoundError):  # as `import scann` does there
        importlib.import_module("scann")
    assert load_scann() is module


def test_other_threads_see_tensorflow_while_scann_is_imported(monkeypatch):
    seen = []
    watch(monkeypatch, lambda name: seen.append(sys.modules.get("tensorflow")))
    load_scann()
    assert seen and all(module is tf for module in seen)


def test_threads_that_load_at_once_get_the_same_module():
    start = threading.Barrier(8)

    def load(_):
        start.wait()
        return load_scann()

    with ThreadPoolExecutor(8) as pool:
        modules = list(pool.map(load, range(8)))
    assert all(module is modules[0] for module in modules)
    assert "scann" not in sys.modules


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ImportError("no wheel"), r"not installed or not for this platform \(no wheel\)"),
        (OSError("invalid ELF header"), r"does not load \(OSError: invalid ELF header\)"),
        (TypeError("Descriptors cannot"), r"does not load \(TypeError: Descriptors cannot\)"),
    ],
)
def test_an_import_that_breaks_off_leaves_nothing_and_can_be_repeated(monkeypatch, error, message):
    def look(name):
        if name.endswith("scann_builder"):
            raise error

    with monkeypatch.context() as patch:
        watch(patch, look)
        with pytest.raises(ScannUnusableError, match=message):
            load_scann()
    assert "scann" not in sys.modules and sys.modules["tensorflow"] is tf
    assert answers(load_scann()) == list(range(50))


def test_scann_that_is_not_installed(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ScannUnusableError, match="No module named 'scann'.*pip install scann"):
        load_scann()
    assert "scann" not in sys.modules


WITHOUT_TENSORFLOW = f"""
import importlib.util, sys
sys.modules["tensorflow"] = None
spec = importlib.util.spec_from_file_location("scann_import", {scann_import.__file__!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
"""


@pytest.mark.parametrize(
    "code",
    [
        "ours = module.load_scann(); assert 'scann' not in sys.modules; import scann",
        "import scann; ours = module.load_scann()",
    ],
)
def test_without_tensorflow_and_beside_another_import_of_scann(code):
    same = "assert ours is scann.scann_ops_pybind and sys.modules['scann'] is scann"
    subprocess.run([sys.executable, "-c", f"{WITHOUT_TENSORFLOW}{code}; {same}"], check=True)
