"""Losses under `tf.distribute`: several replicas step as one device on the whole batch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.large
@pytest.mark.parametrize("replicas", [2, 4])
def test_several_replicas_equal_one_device(replicas):
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("replicas_step.py")), str(replicas)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) == 12
    for name, differences in found.items():
        assert max(differences) < 1e-5, (name, differences)
