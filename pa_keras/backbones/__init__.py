"""Builds backbones by name, from raw RGB pixels to a feature map."""

import difflib
import functools
import warnings
from collections.abc import Callable
from pathlib import Path

import keras

from pa_keras.arguments.image_size import as_size
from pa_keras.backbones import (
    applications,
    efficientnet_lite,
    keras_hub,
    small,
    torch_resnet,
    torch_weights,
)
from pa_keras.backbones.bn_inception import bn_inception
from pa_keras.backbones.googlenet import googlenet

__all__ = ["OF_TORCH", "build", "names"]

_PAPERS: dict[str, Callable[[tuple[int, int]], keras.Model]] = {
    "bn_inception": bn_inception,
    "googlenet": googlenet,
    **{n: functools.partial(torch_resnet.torch_resnet, n) for n in torch_resnet.NAMES},
}
# The networks that can load the weights of PyTorch files.
OF_TORCH = (*_PAPERS, *efficientnet_lite.COEFFICIENTS)


def names() -> list[str]:
    """The names that `build` accepts, in alphabetical order, without those of keras_hub."""
    return sorted(_builders())


def build(name: str, image_size: int | tuple[int, int], weights: str | Path | None) -> keras.Model:
    """Builds a backbone, which includes the scaling of the pixels.

    Args:
        name: Lower-cased constructor of keras.applications (`resnet50`); `bn_inception`,
            `googlenet` or `torch_resnet18`, 34, 50, 101, the networks of the paper;
            `efficientnet_lite0` to 4; or `conv4`: `names()` lists all these. Or `keras_hub/PRESET`,
            with the name or the folder of a preset of keras_hub.
        image_size: (height, width) of the images in pixels, or one number for both.
        weights: "imagenet", which for keras_hub means the weights of the preset; None for random
            weights (`keras.utils.set_random_seed` makes them repeatable); or a file: `.weights.h5`
            or `.h5` of this backbone, or, for the networks of the paper and EfficientNet-Lite, a
            PyTorch `.pth` or an `.npz`.

    Returns:
        Model named "backbone" from raw RGB (B, H, W, 3), float32 in 0..255, to features
        (B, h, w, c).

    Raises:
        ValueError: If the name is unknown, image_size is too small or not a pair, or the weights
            are missing or do not fit; or for `googlenet` and `torch_resnet` on the torch backend.
        ConnectionError: If the ImageNet weights cannot be downloaded.
        FileNotFoundError: If the package that holds the weights of EfficientNet-Lite0 is missing.
        ImportError: If keras_hub is missing.

    Example:
        >>> build("mobilenetv2", (96, 96), weights=None).output_shape
        (None, 3, 3, 1280)
    """
    builder = _builder(name)
    image_size = as_size(image_size)
    if weights in (None, "imagenet"):
        return builder(image_size, weights)
    file = _checked_file(name, weights)
    backbone = builder(image_size, None)
    if file.suffix == ".h5":
        _load_h5(backbone, name, file)
    else:
        torch_weights.load(file, _slots(name, backbone))
    return backbone


def _builder(name: str) -> Callable[[tuple[int, int], str | None], keras.Model]:
    if str(name).startswith("keras_hub/"):
        return functools.partial(keras_hub.build, name.removeprefix("keras_hub/"))
    builders = _builders()
    if name not in builders:
        near = difflib.get_close_matches(str(name), builders, n=1, cutoff=0)[0]
        raise ValueError(
            f"Expected the name of a backbone; received {name!r}. The nearest is {near!r}; "
            "pa_keras.backbones.names() lists all names; keras_hub/PRESET is possible, too."
        )
    return builders[name]


def _builders() -> dict[str, Callable[[tuple[int, int], str | None], keras.Model]]:
    return {
        "conv4": small.conv4,
        **{name: functools.partial(_of_torch, name) for name in _PAPERS},
        **efficientnet_lite.builders(),
        **applications.builders(),
    }


def _of_torch(name: str, image_size: tuple[int, int], weights: str | None) -> keras.Model:
    # Keras registers its weights with torch under the names of their layers.
    if keras.backend.backend() == "torch" and name != "bn_inception":
        raise ValueError(
            f"{name} cannot be built on the torch backend of Keras, which refuses the names of its "
            "layers, as they contain dots. Use the TensorFlow or JAX backend, or another backbone, "
            "such as resnet50 or bn_inception."
        )
    backbone = _PAPERS[name](image_size)
    if weights is not None:
        torch_weights.load(torch_weights.imagenet_file(name), _slots(name, backbone))
    return backbone


def _slots(name: str, backbone: keras.Model) -> dict[str, torch_weights.Slot]:
    is_lite = name in efficientnet_lite.COEFFICIENTS
    return (efficientnet_lite.slots if is_lite else torch_weights.slots_by_layer_names)(backbone)


def _checked_file(name: str, weights: str | Path) -> Path:
    suffixes = (".h5", ".npz", ".pth") if name in OF_TORCH else (".h5",)
    file = Path(weights)
    if file.suffix not in suffixes or not file.is_file():
        raise ValueError(
            f"Expected weights of 'imagenet', None, or an existing {', '.join(suffixes)} file for "
            f"{name}; received {str(weights)!r}. Correct the path or use weights='imagenet'."
        )
    if name.startswith("efficientnetb"):
        raise ValueError(
            f"Expected weights of 'imagenet' or None for {name}; received {str(weights)!r}. "
            "Keras gives this family one pixel scaling with 'imagenet' and another without, so a "
            "file may not fit. Put Keras' own file under ~/.keras/models and use 'imagenet'."
        )
    return file


def _load_h5(backbone: keras.Model, name: str, file: Path) -> None:
    with warnings.catch_warnings():
        # Keras only warns about these layers, and leaves their weights random.
        warnings.filterwarnings("error", message="Skipping nested container")
        try:
            backbone.load_weights(file)
        except (ValueError, OSError, KeyError, UserWarning) as error:
            raise ValueError(
                f"Expected the weights of {name}; received {file}, which does not hold them. "
                f"Save them with backbone.save_weights of the same backbone. {error}"
            ) from error
