"""Loads the weights of PyTorch files into Keras networks: all of them, or it raises an error."""

import hashlib
import os
import re
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from keras import Model, Variable, layers

from pa_keras.backbones import torch_files

# Published weights of the networks of this package, at the addresses of their publishers. As usual
# for PyTorch, a file's name ends with a dash and the first digits of its SHA-256.
IMAGENET_FILES = {
    "bn_inception": "https://data.lip6.fr/cadene/pretrainedmodels/bn_inception-52deb4733.pth",
    "googlenet": "https://download.pytorch.org/models/googlenet-1378be20.pth",
    "torch_resnet18": "https://download.pytorch.org/models/resnet18-f37072fd.pth",
    "torch_resnet34": "https://download.pytorch.org/models/resnet34-b627a593.pth",
    "torch_resnet50": "https://download.pytorch.org/models/resnet50-0676ba61.pth",
    "torch_resnet101": "https://download.pytorch.org/models/resnet101-63fe2227.pth",
}
_CLASSIFIERS = ("fc.", "_fc.", "last_linear.", "aux1.", "aux2.")
_TORCH_NAMES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


class Slot(NamedTuple):
    """The destination of a tensor: a Keras variable, whose axis i is axis `axes[i]` in PyTorch."""

    variable: Variable
    axes: tuple[int, ...]


def slots(layer: layers.Layer, torch_name: str) -> dict[str, Slot]:
    """Maps the names of the tensors of a PyTorch module `torch_name` to a layer's variables."""
    depthwise = isinstance(layer, layers.DepthwiseConv2D)
    kernel_axes = (2, 3, 0, 1) if depthwise else (2, 3, 1, 0)
    return {
        f"{torch_name}.{_TORCH_NAMES[variable.name]}": Slot(
            variable, kernel_axes if len(variable.shape) == 4 else (0,)
        )
        for variable in layer.weights
    }


def slots_by_layer_names(backbone: Model) -> dict[str, Slot]:
    """The slots of a network whose layers have the names of the PyTorch modules."""
    return {
        name: slot for layer in backbone.layers for name, slot in slots(layer, layer.name).items()
    }


def load(path: Path, places: dict[str, Slot]) -> None:
    """Loads a network's weights from a `.pth` state dict, or an `.npz` of it in Keras' axis order.

    The classifier and the batch counters are ignored. The tensors of batch normalization may have
    shape (1, C), as before PyTorch 0.4.

    Args:
        path: File of tensors with PyTorch's names.
        places: Maps each tensor's name to its slot.

    Raises:
        ValueError: If tensors are missing, surplus or misshapen, or the file is broken or holds
            anything but tensors. In that case no variable is changed.
    """
    is_npz = path.suffix == ".npz"
    tensors = {
        name: tensor
        for name, tensor in (_read_npz if is_npz else torch_files.read_tensors)(path).items()
        if not name.startswith(_CLASSIFIERS) and not name.endswith("num_batches_tracked")
    }
    arrays = {}
    misshapen = []
    for name in places.keys() & tensors.keys():
        due, tensor = tuple(places[name].variable.shape), tensors[name]
        if tensor.shape == (1, *due) and len(due) == 1:
            tensor = tensor[0]
        if not is_npz and tensor.ndim == len(due):
            tensor = tensor.transpose(places[name].axes)
        if tensor.shape != due:
            misshapen.append(f"{name} of shape {tensor.shape} instead of {due}")
        arrays[name] = tensor
    faults = [
        *_named("missing", places.keys() - tensors.keys()),
        *_named("surplus", tensors.keys() - places.keys()),
        *_named("misshapen", misshapen),
    ]
    if faults:
        raise ValueError(
            f"Expected the {len(places)} tensors of this network; received {path} with "
            f"{'; '.join(faults)}. Choose the backbone that the file was made for."
        )
    for name, array in arrays.items():
        places[name].variable.assign(array)


def imagenet_file(name: str) -> Path:
    """Finds or downloads the published weights of a network of `IMAGENET_FILES`.

    They may be at `$PA_KERAS_WEIGHTS/<name>/<file>` or in Keras' folder of models. The start of
    their SHA-256 is always compared with the digits in the file name.

    Raises:
        ConnectionError: If they cannot be downloaded; the message says where to put them by hand.
        ValueError: If the file is not the published one.
    """
    address = IMAGENET_FILES[name]
    file = address.rpartition("/")[2]
    own = Path(os.environ.get("PA_KERAS_WEIGHTS") or "$PA_KERAS_WEIGHTS", name, file)
    found = own if own.is_file() else _downloaded(address)
    _expect_published(found)
    return found


def _downloaded(address: str) -> Path:
    """Downloads a file to Keras' folder of models, unless it is there."""
    file = address.rpartition("/")[2]
    try:
        return Path(keras.utils.get_file(file, address, cache_subdir="models"))
    except Exception as error:  # Keras reports a failed download by a bare Exception
        if not isinstance(error, OSError) and not re.match("URL fetch failure", str(error)):
            raise
        folder = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "models"
        raise ConnectionError(
            f"Expected to download {address}; received {type(error).__name__}: {error}. Fetch it "
            f"elsewhere and put it at {folder / file}, or give its path as the weights, such as "
            f"--model.weights {file}."
        ) from error


def _expect_published(path: Path) -> None:
    """Raises a ValueError unless a file's SHA-256 begins with the digits in its name."""
    digits = path.stem.rpartition("-")[2]
    with path.open("rb") as file:
        received = hashlib.file_digest(file, "sha256").hexdigest()
    if not received.startswith(digits):
        raise ValueError(
            f"Expected {path} to have a SHA-256 that begins with {digits}, as its name says; "
            f"received {received[: len(digits)]}. It was cut short, or somebody changed it. Delete "
            "it, and start again to download it."
        )


def _named(what: str, names: Iterable[str]) -> list[str]:
    """A list of one text with at most 20 of the names, or an empty list without names."""
    ordered = sorted(names)
    more = f" and {len(ordered) - 20} more" if len(ordered) > 20 else ""
    return [f"{len(ordered)} {what}: {', '.join(ordered[:20])}{more}"] if ordered else []


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        # Opened here, since NumPy does not close a broken file.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    # NumPy raises these for a file that is truncated, damaged, or of another kind.
    except (ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"Expected an .npz file of named arrays; received {path}: {error}. Fetch it again, or "
            "save it again with numpy.savez."
        ) from error
