"""The house: imports run one way, and what is light stays light."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pa_keras

PACKAGE = Path(pa_keras.__file__).parent
# Each room imports only rooms of the levels above its own line, never one of its own line.
LEVELS = (
    ("arguments", "backend", "compat", "cpu", "files"),
    ("kernels",),
    (
        "backbones",
        "cli",
        "config",
        "datasets",
        "layers",
        "losses",
        "pipelines",
        "retrieval",
    ),
    ("models", "plots"),
    ("evaluation",),
    ("exporters", "training"),
    ("runs",),
    ("comparison", "index", "reports"),
    ("compare", "convert_weights", "embed", "evaluate", "export", "fit", "search"),
)
LEVEL_OF = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.parent.name != "configs"]


def imported(path):
    """Modules of ours that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("pa_keras."))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if room == "__init__":
        return
    for other in set(imported(path)) - {room}:
        assert LEVEL_OF[other] < LEVEL_OF[room], f"{room} must not import {other}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_runs_comparison_and_commands_see_the_config(path):
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if "config" in set(imported(path)) - {room}:
        assert room in {"comparison", "reports", "runs", *LEVELS[-1]}


def test_every_room_has_a_level():
    rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in FILES}
    assert rooms - {"__init__"} == set(LEVEL_OF)


def run(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        cwd=PACKAGE.parent,
    )


@pytest.mark.parametrize(
    "module", ["pa_keras", "pa_keras.config", "pa_keras.fit", "pa_keras.search"]
)
def test_light_modules_import_nothing_heavy(module):
    heavy = "{'tensorflow', 'keras', 'numpy', 'matplotlib', 'scann'}"
    result = run(f"import sys, {module}; print(sorted({heavy} & set(sys.modules)))")
    assert result.stdout.strip() == "[]", result.stderr


def test_the_library_imports_rare_packages_only_where_they_are_used():
    rare = "{'keras_cv', 'tensorflow_datasets', 'scann', 'matplotlib', 'sklearn'}"
    ours = "pa_keras.models, pa_keras.datasets, pa_keras.pipelines, pa_keras.training"
    # Keras itself brings some of them, where they are installed.
    code = f"import sys, keras; before = set(sys.modules); import {ours}; "
    result = run(code + f"print(sorted({rare} & (set(sys.modules) - before)))")
    assert result.stdout.strip() == "[]", result.stderr


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_another_backend_does_not_import_tensorflow(backend):
    code = "import sys, pa_keras; print('tensorflow' in sys.modules)"
    assert run(code, KERAS_BACKEND=backend).stdout.strip() == "False"


@pytest.mark.parametrize("text", ["", "{bad", '{"backend": "tensorflow"}', "\xff"])
@pytest.mark.parametrize("command", ["import pa_keras", "from pa_keras import fit; fit.main()"])
def test_settings_that_keras_ignores_are_ignored(tmp_path, text, command):
    (tmp_path / "keras.json").write_bytes(text.encode("latin-1"))
    result = run(f"import sys; sys.argv[1:] = ['--help']; {command}", KERAS_HOME=str(tmp_path))
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "Expected the settings of Keras in .*keras.json; received .1.. Delete the file"),
        ('{"image_data_format": "channels_first"}', "Expected .* to be 'channels_last'.*it is"),
    ],
)
def test_settings_of_keras_that_cannot_work_are_a_clear_error(tmp_path, text, message):
    (tmp_path / "keras.json").write_text(text)
    result = run("import pa_keras", KERAS_HOME=str(tmp_path), KERAS_BACKEND="")
    assert re.search(f"ImportError: {message}", result.stderr.splitlines()[-1])


def test_the_settings_of_an_imported_keras_count():
    first = "import keras; keras.config.set_image_data_format('channels_first'); import pa_keras"
    assert "it is 'channels_first'" in run(first).stderr


@pytest.mark.parametrize("name", pa_keras.__all__)
def test_public_names_are_there(name):
    assert getattr(pa_keras, name) is not None
    assert name in dir(pa_keras)


def test_sub_packages_are_there_without_an_import_of_their_own():
    folders = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))
    assert folders
    # In a process of its own: here they are imported already.
    result = run(f"import pa_keras\nfor name in {folders}: print(getattr(pa_keras, name).__name__)")
    assert result.stdout.split() == [f"pa_keras.{name}" for name in folders], result.stderr
    assert set(folders) <= set(dir(pa_keras))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Proxy'"):
        _ = pa_keras.Proxy
