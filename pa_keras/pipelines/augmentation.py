"""Builds augmentations from the names of Keras or keras_cv layers."""

import difflib
import inspect
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf


def make_augmentation(
    name: str, options: Mapping[str, Any] | None = None
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Builds a function that augments a batch of images with a layer of a given name.

    The layer is looked up in `keras.layers`, then in `keras_cv.layers`. Either spelling works:
    `RandAugment` or `rand_augment`. `keras_cv.RandAugment` selects the layer of keras_cv.

    Keras layers give the same result for the same seed. keras_cv layers use TensorFlow's
    generators and give a different result each time. Some layers take longer than decoding:
    RandAugment takes several milliseconds per image on a CPU.

    Args:
        name: Name of the layer.
        options: Arguments of the layer. If it has a `value_range`, this is (0, 255) by default;
            `dtype` is "float32" by default.

    Returns:
        A function of images, float32 (B, H, W, 3) in 0..255, and a seed, int (2,), that returns
        images of the same shape, dtype and range.

    Raises:
        ValueError: There is no such layer, an option is missing or unknown, or the layer mixes
            classes.

    Example:
        >>> augment = make_augmentation("rand_augment", {"factor": 0.3})
        >>> augment(tf.zeros((2, 32, 32, 3)), tf.constant([0, 1])).shape.as_list()
        [2, 32, 32, 3]
    """
    layer = _build(name, _find(name), dict(options or {}))
    states = [v for v in layer.variables if v.path.endswith("seed_generator_state")]

    def augment(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        # The layers update a random state. It is set here, so that the augmentation of a batch
        # depends only on its seed and not on the batches before it.
        draws = tf.random.stateless_uniform((len(states), 2), seed, 0, 2**31 - 1, tf.int32)
        for state, draw in zip(states, tf.unstack(draws), strict=True):
            state.assign(tf.cast(draw, state.dtype))
        with _python_draws_repeat():
            result = tf.cast(layer(images, training=True), tf.float32)
        return tf.ensure_shape(tf.clip_by_value(result, 0.0, 255.0), images.shape)

    return augment


def repeats(name: str) -> bool:
    """Whether the layer of that name gives the same result for the same seed.

    Raises:
        ValueError: There is no such layer.
    """
    return _find(name).__module__.partition(".")[0] == "keras"


@contextmanager
def _python_draws_repeat() -> Iterator[None]:
    """Makes Python's random draws repeatable: AugMix draws its operations while it is traced."""
    state = random.getstate()
    random.seed(0)
    try:
        yield
    finally:
        random.setstate(state)


def _find(name: str) -> type[keras.layers.Layer]:
    if not isinstance(name, str):
        raise ValueError(
            f"Expected an augmentation by its name, with its arguments as options; received {name}."
        )
    wanted = _spelled(name.removeprefix("keras_cv."))
    if wanted in ("mixup", "cutmix", "mosaic", "fouriermix"):
        raise ValueError(
            f'Expected an augmentation that keeps the label; received "{name}", which blends '
            "images of several classes, and the loss takes one class for each image; use "
            '"RandAugment" or "RandomErasing".'
        )
    found = {} if name.startswith("keras_cv.") else _keras_layers()
    if wanted not in found:
        found = {**_keras_cv_layers(), **found}
    if wanted not in found:
        near = difflib.get_close_matches(wanted, found, n=3, cutoff=0.4) or sorted(found)
        names = ", ".join(found[each].__name__ for each in near)
        raise ValueError(
            f"Expected the name of an image layer of keras.layers or keras_cv.layers; received "
            f'"{name}"; the nearest: {names}.'
        )
    return found[wanted]


def _keras_layers() -> dict[str, type[keras.layers.Layer]]:
    members = inspect.getmembers(keras.layers, inspect.isclass)
    return {_spelled(key): each for key, each in members if hasattr(each, "transform_images")}


def _keras_cv_layers() -> dict[str, type[keras.layers.Layer]]:
    import keras_cv

    members = inspect.getmembers(keras_cv.layers, inspect.isclass)
    return {
        _spelled(key): each
        for key, each in members
        if hasattr(each, "augment_image") or hasattr(each, "augment_images")
    }


def _spelled(name: str) -> str:
    return name.replace("_", "").lower()


def _build(
    name: str, kind: type[keras.layers.Layer], options: dict[str, Any]
) -> keras.layers.Layer:
    parameters = inspect.signature(kind).parameters
    if "value_range" in parameters:
        options.setdefault("value_range", (0, 255))
    # Mixed precision is for the network only: bfloat16 rounds bright pixels to integers.
    options.setdefault("dtype", "float32")
    try:
        return kind(**options)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f'Expected options that {kind.__name__} takes; received {options} for "{name}" '
            f"({error}); its parameters: {', '.join(parameters)}."
        ) from error
