"""Private names of Keras and TensorFlow stay in three files, each of which can do without them."""

import ast
import importlib
import inspect
import logging
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src.models import functional

import pa_keras
from pa_keras import embedding_model, with_proxies
from pa_keras.compat.fallback import log_fallback
from pa_keras.kernels.tensorflow import is_compiled_by_xla
from pa_keras.layers import Proxies
from pa_keras.losses import ProxyAnchorLoss
from pa_keras.models.batch_norm_folding import folded, folded_for_good
from pa_keras.training.training_model import TrainingModel

PACKAGE = Path(pa_keras.__file__).parent
FENCE = {"kernels/tensorflow.py", "models/batch_norm_folding.py", "training/training_model.py"}
FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "__main__.py"]
PRIVATE_MODULES = ("keras.src", "tensorflow.python", "tensorflow.__internal__")
IN_THE_STANDARD_LIBRARY = {"_exit"}  # os._exit


def name_of(path):
    return path.relative_to(PACKAGE).as_posix()


def is_private(name):
    """Whether a name begins with an underscore and is none of Python's own, such as __name__."""
    return name == "__internal__" or (name.startswith("_") and not name.endswith("__"))


def private_names(source):
    """Private modules that a file imports, and private attributes that it does not define."""
    tree = ast.parse(source)
    nodes = list(ast.walk(tree))
    # An attribute of ours is a method, a field of a class, or set on self in the same file.
    own = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    own |= {
        node.target.id
        for node in nodes
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    attributes = [node for node in nodes if isinstance(node, ast.Attribute)]
    own |= {
        node.attr
        for node in attributes
        if isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found.update(module for module in modules if module.startswith(PRIVATE_MODULES))
    for node in nodes:
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("getattr", "hasattr"):
            name = getattr(node.args[1], "value", "")
            found.update({name} if isinstance(name, str) and is_private(name) else ())
    for node in attributes:
        if is_private(node.attr) and node.attr not in own:
            found.add(node.attr)
        library = getattr(node.value, "id", "")
        if node.attr in ("src", "python") and library in ("keras", "tf"):
            found.add(f"{library}.{node.attr}")
    return found - IN_THE_STANDARD_LIBRARY


@pytest.mark.parametrize(
    "source",
    [
        "from keras.src.models import functional",
        "import tensorflow.python.framework",
        "import keras\nkeras.src.models",
        "tf.__internal__.get_enclosing_xla_context()",
        "model._flatten_layers()",
        "getattr(model, '_flatten_layers')",
        "class A(keras.Model):\n    def f(self):\n        return self._loss_tracker",
    ],
)
def test_private_names_are_found(source):
    assert private_names(source)


def test_names_of_ours_are_not():
    source = (
        "from pa_keras.losses._common import f\nclass A:\n    _field: int\n"
        "    def _f(self, other):\n        self._x = other._x + self._f(other) + self._field\n"
        "        return self.__class__.__name__"
    )
    assert not private_names(source)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_private_names_stay_in_the_fence(path):
    found = private_names(path.read_text())
    assert bool(found) == (name_of(path) in FENCE), found


def own_classes():
    for path in FILES:
        if name_of(path) == "kernels/torch.py":  # it has no class, and torch may not be installed
            continue
        module = importlib.import_module(
            ".".join(["pa_keras", *path.relative_to(PACKAGE).with_suffix("").parts])
        )
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if kind.__module__ == module.__name__ and name_of(path) not in FENCE:
                yield kind


def test_no_class_overrides_a_private_hook():
    for kind in own_classes():
        bases = [b for b in kind.__mro__ if b.__module__.startswith(("keras.", "tensorflow."))]
        own = [name for name in vars(kind) if name.startswith("_") and not name.endswith("__")]
        hooks = [name for name in own if any(name in vars(base) for base in bases)]
        # Keras and abc write these into every class.
        hooks = [name for name in hooks if name != "_abc_impl" and callable(vars(kind)[name])]
        assert not hooks, (kind, hooks)


@pytest.fixture(autouse=True)
def no_line_was_logged():
    log_fallback.cache_clear()
    yield
    log_fallback.cache_clear()


def lines(caplog):
    return [r.getMessage() for r in caplog.records if r.name == "pa_keras.compat.fallback"]


def test_a_fallback_is_logged_once(caplog):
    for _ in range(3):
        log_fallback("keras.a", "Slower.")
    assert lines(caplog) == ["The installed Keras or TensorFlow has no keras.a. Slower."]


def loss_and_gradients():
    rng = np.random.default_rng(0)
    labels = tf.constant([0, 1, 1, 3, 0, 2])
    embeddings = tf.constant(rng.normal(size=(6, 8)).astype("float32"))
    layer = Proxies(5, seed=1)
    layer(embeddings)
    loss = ProxyAnchorLoss()

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            tape.watch(embeddings)
            value = loss(labels, layer(embeddings))
        return [value, *tape.gradient(value, [embeddings, layer.proxies.value])]

    operations = {op.type for op in step.get_concrete_function().graph.get_operations()}
    return step(), operations


def test_without_a_word_on_xla_losses_use_the_operations_that_xla_knows(monkeypatch, caplog):
    expected, operations = loss_and_gradients()
    assert {"EuclideanNorm", "ScatterNdNonAliasingAdd"} <= operations
    assert not lines(caplog)
    monkeypatch.delattr(tf.__internal__, "get_enclosing_xla_context")
    assert is_compiled_by_xla()
    received, operations = loss_and_gradients()
    assert not {"EuclideanNorm", "ScatterNdNonAliasingAdd"} & operations
    for one, other in zip(expected, received, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-6)
    assert len(lines(caplog)) == 1 and "get_enclosing_xla_context" in lines(caplog)[0]


def small_model():
    keras.utils.set_random_seed(0)
    return embedding_model("conv4", 8, (16, 16), weights=None, batch_norm="frozen", seed=0)


IMAGES = np.random.default_rng(0).uniform(0, 255, (6, 16, 16, 3)).astype("float32")
LABELS = np.array([0, 0, 1, 1, 2, 2])


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (functional, "Functional"),
        (functional, "operation_fn"),
        (functional.Function, "_run_through_graph"),
        (functional.Functional, "_standardize_inputs"),
    ],
)
def test_without_internals_the_model_is_called_as_it_is(monkeypatch, caplog, owner, name):
    model = small_model()
    expected = np.asarray(model(IMAGES, training=False))
    with monkeypatch.context() as patch:
        patch.delattr(owner, name)
        functions = [make(model) for make in (folded, folded_for_good, folded)]
    for function in functions:
        np.testing.assert_array_equal(function(IMAGES), expected)  # to the bit: nothing is folded
    assert len(lines(caplog)) == 1 and name in lines(caplog)[0]


def trained(kind):
    embedder = small_model()
    model = with_proxies(embedder, 3, seed=0)
    model = kind(model.input, model.output)
    model.compile(keras.optimizers.SGD(0.01), ProxyAnchorLoss(), jit_compile=False)
    history = model.fit(IMAGES, LABELS, batch_size=6, epochs=2, verbose=0)
    return history.history["loss"], model.get_weights()


def test_without_its_hook_keras_builds_the_model(monkeypatch, caplog):
    expected, weights = trained(keras.Model)
    for kind in keras.Model.__mro__:
        if "_maybe_symbolic_build" in vars(kind):
            monkeypatch.delattr(kind, "_maybe_symbolic_build")
    received, own = trained(TrainingModel)
    np.testing.assert_allclose(received, expected, rtol=1e-4)
    for one, other in zip(weights, own, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-3, atol=1e-4)
    found = [line for line in lines(caplog) if "_maybe_symbolic_build" in line]
    assert len(found) == 1


def test_nothing_is_logged_where_nothing_is_missing(caplog):
    caplog.set_level(logging.DEBUG)
    folded(small_model())
    trained(TrainingModel)
    assert not lines(caplog)
