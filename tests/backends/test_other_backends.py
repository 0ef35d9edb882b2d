"""Runs the tests of this folder on the other backends, each in a process of its own."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.backends.step import BACKEND

FOLDER = Path(__file__).parent
FILES = [str(file) for file in FOLDER.glob("test_*.py") if file.name != Path(__file__).name]


@pytest.mark.large  # two minutes: JAX compiles every step of every loss
@pytest.mark.skipif(BACKEND != "tensorflow", reason="this process is one of those below")
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_the_same_tests_pass_on(backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *FILES]
    environment = {**os.environ, "KERAS_BACKEND": backend}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, cwd=FOLDER.parents[1]
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(BACKEND != "tensorflow", reason="one process is enough")
def test_a_backend_that_is_set_but_not_installed_is_named():
    missing = [each for each in ("jax", "torch") if importlib.util.find_spec(each) is None]
    if not missing:
        pytest.skip("all backends are installed")
    done = subprocess.run(
        [sys.executable, "-c", "import pa_keras; pa_keras.losses"],
        env={**os.environ, "KERAS_BACKEND": missing[0]},
        capture_output=True,
        text=True,
        cwd=FOLDER.parents[1],
    )
    assert done.returncode == 1
    assert f"but {missing[0]} is not installed. Install it" in done.stderr.splitlines()[-1]
