"""Divides a backbone into blocks by depth, for fine-tuning."""

from collections import Counter

import keras
from keras import Layer

from pa_keras.models.all_layers import all_layers, held_layers


def backbone_blocks(embedding_model: keras.Model) -> list[list[Layer]]:
    """Lists the blocks of the backbone of an embedding model, from the pixels on.

    The order is that of Keras, in which a layer follows those that it takes its features from.

    - A backbone made of composite layers, such as a vision transformer, has a block for each of
      them. What is before the first one (patches, positions and class token) is block 0.
    - In a convolutional network, a block begins at each layer with a kernel, unless the layer
      before it has one too, as with convolutions of parallel branches.

    Other layers with weights, such as normalization, belong to the block before them. So ViT-B has
    13 blocks: block 0 and its 12 transformer layers, the last one with the final normalization.

    Args:
        embedding_model: Model of `pa_keras.models.embedding_model`.

    Returns:
        The layers of each block that have weights. Each weight of the backbone is in one block.

    Example:
        >>> from pa_keras.models import embedding_model
        >>> blocks = backbone_blocks(embedding_model("conv4", 64, (64, 64), weights=None))
        >>> [[layer.name for layer in block] for block in blocks[:2]]
        [['conv1', 'bn1'], ['conv2', 'bn2']]
    """
    backbone = embedding_model.get_layer("backbone")
    layers = [part for layer in backbone.layers for part in _parts(layer)]
    has_composites = any(map(_is_composite, layers))
    blocks: list[list[Layer]] = [[]]
    follows_kernel = False
    for layer in layers:
        has_kernel = _has_kernel(layer)
        begins = _is_composite(layer) if has_composites else has_kernel and not follows_kernel
        if begins and any(map(_has_kernel, blocks[-1])):
            blocks.append([])
        if layer.weights:
            blocks[-1].append(layer)
        follows_kernel = has_kernel
    return blocks


def freeze_blocks(embedding_model: keras.Model, number: int) -> None:
    """Freezes the first blocks of the backbone: their weights and statistics do not change.

    Args:
        embedding_model: Model of `pa_keras.models.embedding_model`.
        number: Number of blocks of `backbone_blocks` to freeze, from 0 to all of them.

    Raises:
        ValueError: The backbone does not have as many blocks.

    Example:
        >>> from pa_keras.models import embedding_model
        >>> model = embedding_model("conv4", 64, (64, 64), weights=None)
        >>> freeze_blocks(model, 3)
        >>> [variable.path for variable in model.trainable_variables][0]
        'conv4/kernel'
    """
    blocks = backbone_blocks(embedding_model)
    if not 0 <= number <= len(blocks):
        raise ValueError(
            f"Expected freeze_blocks from 0 to {len(blocks)}, the number of blocks of this "
            f"backbone; received {number}."
        )
    for layer in (part for block in blocks[:number] for each in block for part in all_layers(each)):
        layer.trainable = False
        for weight in layer.weights:  # Keras leaves them as they are if the layer was not trainable
            weight.trainable = False


def _parts(layer: Layer) -> list[Layer]:
    """The layers of an encoder; another layer is a single part.

    An encoder holds several composite layers of one class, such as all transformer layers.
    """
    held = held_layers(layer)
    classes = Counter(type(part) for part in held if _is_composite(part))
    return held if any(count > 1 for count in classes.values()) else [layer]


def _is_composite(layer: Layer) -> bool:
    return bool(layer.weights) and any(part.weights for part in held_layers(layer))


def _has_kernel(layer: Layer) -> bool:
    return any(len(weight.shape) > 1 for weight in layer.weights)
