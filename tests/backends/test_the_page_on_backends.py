"""The program of docs/backends.md, unchanged, in a process of each backend.

Each process needs the package of its backend alone, and the test those that are installed.
"""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "backends.md"
CHECKS = """
history = model.history.history
assert float(history["loss"][-1]) < float(history["loss"][0])
# Of 160 unseen images, 19 have the colour of another: guesses would reach 0.12.
assert history["recall_at_1"][-1] > 0.5
np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
assert embeddings.shape == (160, 16) and neighbours.shape == cosines.shape == (160, 4)
print(keras.backend.backend())
"""


@pytest.mark.parametrize("backend", ["tensorflow", "jax", "torch"])
def test_the_program_runs(backend, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", program + CHECKS],
        # PyTorch is slow on cores that another test keeps busy, unless it has one thread.
        env={
            **os.environ,
            "KERAS_BACKEND": backend,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == backend


def test_the_links_of_the_page_lead_somewhere():
    for link in re.findall(r"\]\((?!http)([^)]+)\)", PAGE.read_text()):
        assert (PAGE.parent / link.partition("#")[0]).exists(), link
