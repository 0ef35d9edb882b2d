"""The layers of a model at every depth."""

from typing import Any

import keras

_HOLDERS = (keras.layers.Layer, dict, list, tuple)


def all_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """The model and every layer within it, each once: those of nested models and layers as well.

    `model.layers` lists only the outermost. Some networks of keras_hub keep their batch
    normalization within other layers, which hold it as an attribute, or in a list or a dict.

    Args:
        model: Any model or layer.

    Returns:
        The layers, each before those that it holds.

    Example:
        >>> inner = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        >>> [type(layer).__name__ for layer in all_layers(inner)][-1]
        'Dense'
    """
    seen: dict[int, object] = {}
    ahead: list[object] = [model]
    while ahead:
        value = ahead.pop()
        if isinstance(value, _HOLDERS) and id(value) not in seen:
            seen[id(value)] = value
            ahead.extend(reversed(_held_by(value)))
    return [value for value in seen.values() if isinstance(value, keras.layers.Layer)]


def _held_by(value: Any) -> list[object]:
    if isinstance(value, keras.Model):
        return list(value.layers)
    if isinstance(value, keras.layers.Layer):
        return list(vars(value).values())
    return list(value.values() if isinstance(value, dict) else value)
