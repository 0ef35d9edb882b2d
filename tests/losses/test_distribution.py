"""Losses under `tf.distribute`: two replicas step as far as one device does."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.large
def test_two_replicas_step_by_the_mean_of_their_losses():
    """A loss of pairs sees those of a replica; one of single embeddings is the whole batch's."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("two_replicas.py"))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) == 12
    for name, differences in found.items():
        assert max(differences) < 1e-5, (name, differences)
