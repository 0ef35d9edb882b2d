"""The benchmark of a device: its float64 oracle, and its tables on the backend that is set.

KERAS_BACKEND=jax python -m pytest tests/backends/test_accelerator_benchmark.py
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import accelerator, devices

ROOT = Path(__file__).parents[2]


def test_gradients_of_the_oracle_equal_differences():
    rng = np.random.default_rng(0)
    x, p, labels = rng.normal(size=(5, 3)), rng.normal(size=(4, 3)), np.array([0, 1, 1, 3, 0])
    _, by_x, by_p = accelerator.in_float64(x, p, labels)
    for array, gradient in ((x, by_x), (p, by_p)):
        for place in np.ndindex(array.shape):
            start, values = array[place], []
            for move in (1e-6, -1e-6):
                array[place] = start + move
                values.append(accelerator.in_float64(x, p, labels)[0])
            array[place] = start
            difference = (values[0] - values[1]) / 2e-6
            assert gradient[place] == pytest.approx(difference, rel=1e-4, abs=1e-6)


def test_an_error_beyond_its_bound_or_nan_is_shown():
    value, *gradients = accelerator.in_float64(*accelerator.inputs(4))
    for factor, within in ((1.0, "yes"), (1.001, accelerator.NO), (np.nan, accelerator.NO)):
        found = (value, [gradients[0], gradients[1] * factor])
        row = accelerator.error_row(4, "eager", lambda found=found: found, "float32")
        assert row[-1] == within


def test_a_mode_that_fails_is_shown():
    def fails():
        raise RuntimeError("no compiler\nwas found")

    row = accelerator.error_row(4, "torch.compile", fails, "float32")
    assert row[1] == "failed: RuntimeError: no compiler" and row[-1] == "not run"
    (*_, times) = accelerator.loss_times(4, {"torch.compile": fails}, 1)
    assert times.ours == "failed: RuntimeError: no compiler"


def test_the_tables_of_the_loss_step(tmp_path):
    mode = devices.MODES[0]
    done = subprocess.run(
        # Without PYTHONPATH, and elsewhere: the script finds the package beside it.
        [sys.executable, ROOT / "benchmarks" / "accelerator.py",
         "--parts", "loss", "--classes", "7", "--turns", "1", "--modes", mode],
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{devices.BACKEND} on {devices.name()}, ")
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert rows[2].startswith(f"| C = 7, {mode}, float32 | ") and rows[2].endswith(" | yes |")
    assert any(f"| loss step, C = 7, {mode} | " in row and "bare products" in row for row in rows)


@pytest.mark.large
def test_the_table_of_training(capsys):
    assert accelerator.main(["--parts", "training", "--turns=1", "--batch=2", "--pixels=32"]) == 0
    assert "| ResNet-50, 2 images of 32 px, mixed_bfloat16 | " in capsys.readouterr().out
