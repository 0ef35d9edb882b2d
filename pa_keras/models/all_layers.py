"""Lists the layers of a model at every depth."""

from typing import Any

import keras

_HOLDERS = (keras.layers.Layer, dict, list, tuple)


def all_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Lists the model and every layer in it, each once, also those of nested models and layers.

    `model.layers` lists only the outermost layers. Some networks of keras_hub keep their batch
    normalization in other layers, as an attribute or in a list or a dict.

    Args:
        model: Any model or layer.

    Returns:
        The layers; each comes before the layers that it holds.

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


def held_layers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Lists the layers that a layer or model holds itself, without those inside them.

    Args:
        layer: Any layer or model.

    Returns:
        Each layer once, in the order in which they are stored.

    Example:
        >>> inner = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
        >>> [type(layer).__name__ for layer in held_layers(inner)]
        ['Dense']
    """
    seen: dict[int, object] = {id(layer): layer}
    ahead = list(reversed(_held_by(layer)))
    while ahead:
        value = ahead.pop()
        if isinstance(value, _HOLDERS) and id(value) not in seen:
            seen[id(value)] = value
            if not isinstance(value, keras.layers.Layer):
                ahead.extend(reversed(_held_by(value)))
    return [value for value in seen.values() if isinstance(value, keras.layers.Layer)][1:]


def _held_by(value: Any) -> list[object]:
    if isinstance(value, keras.Model):
        return list(value.layers)
    if isinstance(value, keras.layers.Layer):
        return list(vars(value).values())
    return list(value.values() if isinstance(value, dict) else value)
