"""Another backend, or none, where TensorFlow is needed: each is one line that says what to do."""

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pa_keras.backend import explained_imports, keras_settings

ROOT = Path(__file__).parents[1]
COMMANDS = {
    "fit": [],
    "evaluate": ["--model=a.keras", "--dataset=glyphs"],
    "embed": ["--model=a.keras", "--images=.", "--out=new.npz"],
    "export": ["--model=a.keras", "--out=exports", "--dataset=glyphs", "--name=a"],
    "search": ["build", "--model=a.keras", "--gallery=.", "--index=index"],
    "compare": [f"--config={ROOT}/configs/compare/glyphs.yaml"],
    "convert_weights": ["--backbone=bn_inception", "--from=a.pth", "--to=a.weights.h5"],
}
# Makes packages look as if they were not installed.
HIDE = """
import sys
class Others:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, *options):
        hidden = name.partition(".")[0] in {!r}
        return None if hidden else self.finder.find_spec(name, *options)
sys.meta_path[:] = map(Others, sys.meta_path)
"""
HEAVY = "print(sorted({'tensorflow', 'keras', 'numpy', 'jax', 'torch'} & set(sys.modules)))"


def run(code, hidden=(), **environment):
    return subprocess.run(
        [sys.executable, "-c", HIDE.format(hidden) + code],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
    )


def ends(commands, code="from pa_keras import {0}\n    {0}.main({1})"):
    """Code that runs commands and prints how each of them ends."""
    lines = [
        "try:\n    " + code.format(name, arguments) + "\nexcept SystemExit as end: print(end)\n"
        for name, arguments in commands.items()
    ]
    return "".join(lines)


def test_every_command_says_that_it_needs_the_tensorflow_backend(tmp_path):
    result = run(ends(COMMANDS) + HEAVY, KERAS_BACKEND="jax", KERAS_HOME=str(tmp_path))
    *lines, heavy = result.stdout.splitlines()
    expected = (
        "error: The commands of pa_keras need the TensorFlow backend; it is 'jax' (KERAS_BACKEND). "
        "Run the command with KERAS_BACKEND=tensorflow. Models that were trained on jax and saved "
        "as .keras work there unchanged."
    )
    assert lines == [expected] * len(COMMANDS), result.stderr
    assert heavy == "[]", "it says so before anything heavy is imported"


def test_the_backend_of_the_file_of_keras_counts(tmp_path):
    (tmp_path / "keras.json").write_text('{"backend": "torch"}')
    result = run(ends({"fit": []}), KERAS_BACKEND="", KERAS_HOME=str(tmp_path))
    assert f"it is 'torch' ({tmp_path / 'keras.json'})" in result.stdout, result.stderr


def test_every_command_says_that_it_needs_tensorflow():
    result = run(ends(COMMANDS), hidden=["tensorflow"], KERAS_BACKEND="tensorflow")
    expected = (
        "error: The commands of pa_keras need TensorFlow, which is not installed. Install it: pip "
        "install tensorflow."
    )
    assert result.stdout.splitlines() == [expected] * len(COMMANDS), result.stderr


def test_help_needs_no_backend():
    helps = {name: ["--help"] for name in COMMANDS}
    result = run(ends(helps), hidden=["tensorflow", "jax"], KERAS_BACKEND="jax")
    assert result.stdout.count("usage: ") == len(COMMANDS) and "error: " not in result.stdout


@pytest.mark.parametrize("backend", ["jax", "torch", "tensorflow"])
@pytest.mark.parametrize("name", ["ProxyAnchorLoss", "load_model", "RecallAtK", "losses"])
def test_a_backend_that_is_not_installed(backend, name, tmp_path):
    code = f"import pa_keras\ntry: pa_keras.{name}\nexcept ImportError as error: print(error)"
    hidden = ["jax", "torch", "tensorflow"]
    environment = {"KERAS_BACKEND": backend, "KERAS_HOME": str(tmp_path)}
    assert run(code, hidden, **environment).stdout.splitlines() == [
        f"The backend of Keras is {backend!r} (KERAS_BACKEND), but {backend} is not installed. "
        "Install it."
    ]


def test_the_backends_that_are_installed_are_offered(tmp_path):
    code = "import pa_keras\ntry: pa_keras.losses\nexcept ImportError as error: print(error)"
    result = run(code, ["jax", "torch"], KERAS_BACKEND="jax", KERAS_HOME=str(tmp_path))
    assert "Install it, or set KERAS_BACKEND to tensorflow." in result.stdout
    result = run(code, ["jax", "torch", "tensorflow"], KERAS_BACKEND="", KERAS_HOME=str(tmp_path))
    assert re.search(
        "'tensorflow' .*, but tensorflow is not installed. Install it.$", result.stdout
    )


def test_tensorflow_is_explained_where_another_backend_is_set(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    monkeypatch.setattr(
        "pa_keras.backend.keras_settings", lambda: keras_settings_with(backend="jax")
    )
    message = "pa_keras.embed_images needs tensorflow, which is not installed, also on the jax back"
    with (
        pytest.raises(ImportError, match=re.escape(message)),
        explained_imports("pa_keras.embed_images"),
    ):
        import tensorflow  # noqa: F401


def keras_settings_with(**changes):
    import dataclasses

    return dataclasses.replace(keras_settings(), **changes)


def test_other_missing_packages_are_not_explained():
    with (
        pytest.raises(ModuleNotFoundError, match="No module named 'no_such'"),
        explained_imports("pa_keras"),
    ):
        importlib.import_module("no_such")
