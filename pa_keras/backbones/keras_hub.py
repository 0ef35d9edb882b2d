"""Backbones of the package keras_hub by the name of a preset: DINOv2, ViT, SigLIP, ResNet."""

import difflib
import http.client
import warnings
from pathlib import Path
from types import ModuleType

from keras import Input, Layer, Model, layers

from pa_keras.backbones.keras_hub_patches import patch_features

# Left out (in 0.32): DeiT cannot be saved, and Swin and MiT accept a single image size.
_PATCHES = ["CLIP", "DINOV2", "DINOV3", "MetaCLIP2", "SigLIP", "ViT"]
_MAPS = ["CSPNet", "DenseNet", "EfficientNet", "HGNetV2", "MobileNet", "ResNet", "VGG", "Xception"]
_FAMILIES = [*_PATCHES, *_MAPS]


def presets() -> list[str]:
    """The names of presets that `build` accepts, in alphabetical order.

    Raises:
        ImportError: If keras_hub is not installed.

    Example:
        >>> "dinov2_small" in presets()
        True
    """
    models = _keras_hub().models
    families = [getattr(models, f"{family}Backbone") for family in _FAMILIES]
    return sorted({name for family in families for name in family.presets})


def build(preset: str, image_size: tuple[int, int], weights: str | None) -> Model:
    """Builds the image network of a keras_hub preset, including the scaling of the pixels.

    A transformer returns each patch concatenated with the class token, so that the average of the
    map is [class token, average of the patches], as in DINOv2's linear evaluation. Register tokens
    are left out, and so are the text encoder and the pooling head of CLIP and SigLIP.

    Args:
        preset: Name in `presets()`; a folder that `save_to_preset` wrote, with its image
            converter; or an address that keras_hub reads: `hf://...` or `kaggle://...`.
        image_size: (height, width) in pixels, multiples of the patch size. Learned positions are
            resized to it bicubically.
        weights: "imagenet" for the weights of the preset, whatever images they were trained on;
            None for random weights.

    Returns:
        Model named "backbone" from raw RGB (B, H, W, 3), float32 in 0..255, to features
        (B, h, w, c); a transformer with C channels and a class token has c = 2 C. To load it from a
        `.keras` file, keras_hub must be installed.

    Raises:
        ImportError: If keras_hub is not installed.
        ValueError: If the preset is unknown, not an image network or without an image converter,
            if its patches do not divide image_size, or if the weights do not fit.
        ConnectionError: If the preset cannot be downloaded.
        FileNotFoundError: If the folder has no weights.

    Example:
        >>> build("dinov2_small", (224, 224), weights="imagenet").output_shape  # doctest: +SKIP
        (None, 16, 16, 768)

    Source: Oquab et al., DINOv2: Learning Robust Visual Features without Supervision, 2023; resized
    positions: Dosovitskiy et al., An Image is Worth 16x16 Words, ICLR 2021, section 3.2.
    """
    network, converter = _load(preset, weights is not None)
    images = Input((*image_size, 3), name="images")
    # float32 under every policy, since half precision has too few digits for 0..255.
    pixels = layers.Rescaling(
        converter.scale or 1.0,
        offset=converter.offset or 0.0,
        dtype="float32",
        name="pixel_scaling",
    )(images)
    if _family(network) in _PATCHES:
        network = getattr(network, "vision_encoder", network)
        features = patch_features(network, pixels, image_size)
    else:
        features = network.call(pixels)  # its layers become those of `backbone`
        features = [*features.values()][-1] if isinstance(features, dict) else features
    return Model(images, features, name="backbone")


def _keras_hub() -> ModuleType:
    try:
        import keras_hub
    except ImportError as error:
        raise ImportError(
            "Expected the package keras_hub for a backbone keras_hub/...; received "
            f'"{error}". Install it: pip install "pa_keras[hub]".'
        ) from error
    return keras_hub


def _load(preset: str, load_weights: bool) -> tuple[Model, Layer]:
    known = presets()
    is_folder = preset not in known and Path(preset).is_dir()
    if preset not in known and not is_folder and "://" not in preset:
        near = difflib.get_close_matches(preset, known, n=4, cutoff=0)
        raise ValueError(
            "Expected the preset of an image network in keras_hub, or a folder with one; received "
            f"{preset!r}. The nearest are {', '.join(near)}; "
            "pa_keras.backbones.keras_hub.presets() lists all presets."
        )
    try:
        with warnings.catch_warnings():
            # Keras only warns about these layers, and leaves their weights random.
            warnings.filterwarnings("error", message="Skipping nested container")
            network = _keras_hub().models.Backbone.from_preset(preset, load_weights)
        _expect_family(preset, network)
        return network, _converter(preset)
    except UserWarning as error:
        raise ValueError(
            f"Expected the weights of the network in {preset}; received others. {error} "
            "Write the folder again with save_to_preset of the network."
        ) from error
    # keras_hub raises any of these for a broken folder.
    except (OSError, http.client.HTTPException, ValueError, TypeError, KeyError) as error:
        if str(error).startswith("Expected"):
            raise
        raise _not_read(preset, is_folder, error) from error


def _not_read(preset: str, is_folder: bool, error: Exception) -> Exception:
    """The error for a preset that keras_hub could not read or download."""
    if is_folder:
        kind = FileNotFoundError if isinstance(error, FileNotFoundError) else ValueError
        return kind(
            f"Expected a folder that save_to_preset wrote; received {preset}: "
            f"{type(error).__name__}: {error} Write it again with save_to_preset of the network "
            "and of its ImageConverter."
        )
    # keras_hub mentions config.json if it cannot reach Hugging Face.
    download = isinstance(error, (OSError, http.client.HTTPException))
    if not download and "has no config.json" not in str(error):
        return error
    return ConnectionError(
        f"Expected to download the keras_hub preset {preset}; received {type(error).__name__}: "
        f"{error}. Try again; or fetch it elsewhere (from_preset, then save_to_preset, of both "
        "keras_hub.models.Backbone and keras_hub.layers.ImageConverter) and give the folder: "
        "keras_hub/<folder>."
    )


def _family(network: Model) -> str:
    return type(network).__name__.removesuffix("Backbone")


def _expect_family(preset: str, network: Model) -> None:
    if _family(network) not in _FAMILIES:
        raise ValueError(
            f"Expected a preset of an image network ({', '.join(_FAMILIES)}); received {preset!r} "
            f"of {_family(network)}. pa_keras.backbones.keras_hub.presets() lists the presets."
        )


def _converter(preset: str) -> Layer:
    try:
        return _keras_hub().layers.ImageConverter.from_preset(preset)
    except FileNotFoundError as error:
        raise ValueError(
            "Expected a keras_hub preset with an image converter, which says how to scale pixels; "
            f"received {preset}: {error} Save one beside the network, for example "
            "keras_hub.layers.ImageConverter(scale=1 / 255).save_to_preset(folder)."
        ) from error
