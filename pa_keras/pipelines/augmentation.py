"""Optional augmentation by the name of a Keras or keras_cv layer."""

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
    """Builds a function that augments a batch of images with the layer of that name.

    The name is that of an image layer of `keras.layers`, or else of `keras_cv.layers`, in
    either spelling: `RandAugment`, `rand_augment`; `keras_cv.RandAugment` is keras_cv's.

    Keras layers give the same result for the same seed. keras_cv layers draw by TensorFlow's
    generators and give another result each time. Some cost more than decoding: RandAugment several
    milliseconds an image on a CPU.

    Args:
        name: of the layer.
        options: its arguments; `value_range`, if it has one, is (0, 255) by default, and
            `dtype` is "float32".

    Returns:
        A function from images float32 (B, H, W, 3), 0..255, and a seed, int (2,), to images of
        the same shape, dtype and range.

    Raises:
        ValueError: no such layer, a missing or unknown option, or a layer that mixes classes.

    Example:
        >>> augment = make_augmentation("rand_augment", {"factor": 0.3})
        >>> augment(tf.zeros((2, 32, 32, 3)), tf.constant([0, 1])).shape.as_list()
        [2, 32, 32, 3]
    """
    layer = _build(name, _find(name), dict(options or {}))
    states = [v for v in layer.variables if v.path.endswith("seed_generator_state")]

    def augment(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        # The layers count up a state of their own; it is set, so that a batch's augmentation
        # depends on its seed alone and not on the batches before it.
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
        ValueError: there is no such layer.
    """
    return _find(name).__module__.partition(".")[0] == "keras"


@contextmanager
def _python_draws_repeat() -> Iterator[None]:
    """AugMix draws its operations in Python, when it is traced: the same ones in each process."""
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
            "images of several classes, and the loss takes one class an image; use "
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
    # Mixed precision is for the network: in bfloat16 light pixels become whole numbers.
    options.setdefault("dtype", "float32")
    try:
        return kind(**options)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f'Expected options that {kind.__name__} takes; received {options} for "{name}" '
            f"({error}); its parameters: {', '.join(parameters)}."
        ) from error
