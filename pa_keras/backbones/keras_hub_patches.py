"""The patches of a vision transformer of keras_hub as a feature map, for any image size."""

import math

import numpy as np
from keras import KerasTensor, Model, layers, ops

_TOKENS = ["class_embedding", "class_token", "cls_token", "register_tokens"]  # class first


def patch_features(network: Model, pixels: KerasTensor, image_size: tuple[int, int]) -> KerasTensor:
    """Returns the map (B, h, w, 2 C) of [class token, patch], or (B, h, w, C) without class token.

    Args:
        network: Transformer of keras_hub, whose embedding layer is replaced by one for this size.
        pixels: Scaled images (B, H, W, 3).
        image_size: (H, W), multiples of the patch size, or the image size of the network.

    Raises:
        ValueError: If image_size is different.
    """
    # This replaces keras_hub's embedding layer, which accepts only square images; that of DINOv2
    # (in 0.32) may also save its positions as they were before training.
    patch = [int(side) for side in np.broadcast_to(network.patch_size, 2)]
    if tuple(image_size) != tuple(network.image_shape[:2]):  # SigLIP's 384 is not a multiple of 14
        _expect_multiples(image_size, patch)
    grid = [side // length for side, length in zip(image_size, patch, strict=True)]
    embedding = network.layers[1]
    tokens, positions = _tables(network, patch, grid)
    projection = (
        getattr(embedding, "patch_embedding", None) or embedding.patch_embeddings.projection
    )
    x = layers.Reshape((math.prod(grid), -1), name="patches")(projection(pixels))
    if positions is not None:
        x = layers.Add(name="placed_patches")([x, _table(x, positions, "positions")])
    if len(tokens):
        empty = layers.ZeroPadding1D((len(tokens), 0), name="room_for_tokens")(x)
        empty = layers.Cropping1D((0, math.prod(grid)), name="empty_tokens")(empty)
        x = layers.Concatenate(1, name="all_tokens")([_table(empty, tokens, "tokens"), x])
    if hasattr(embedding, "dropout"):
        x = embedding.dropout(x)
    return _as_map(_encode(network, pixels, x, len(tokens)), len(tokens), grid)


def _expect_multiples(image_size: tuple[int, int], patch: list[int]) -> None:
    if any(side % length for side, length in zip(image_size, patch, strict=True)):
        below = tuple(max(s // p, 1) * p for s, p in zip(image_size, patch, strict=True))
        above = tuple(-(-s // p) * p for s, p in zip(image_size, patch, strict=True))
        raise ValueError(
            f"Expected an image_size of multiples of {patch[0]} x {patch[1]} pixels; received "
            f"{tuple(image_size)}. The nearest are {below} and {above}."
        )


def _tables(
    network: Model, patch: list[int], grid: list[int]
) -> tuple[np.ndarray, np.ndarray | None]:
    """The tokens (P, C), with the class token first, and the positions (h w, C) or None."""
    embedding, channels = network.layers[1], network.hidden_dim
    found = [getattr(embedding, name) for name in _TOKENS if hasattr(embedding, name)]
    rows = [np.reshape(ops.convert_to_numpy(token), (-1, channels)) for token in found]
    tokens = np.concatenate([np.zeros((0, channels), "float32"), *rows])
    positions = getattr(embedding, "position_embeddings", None)  # DINOv2
    positions = getattr(embedding, "position_embedding", positions)
    if positions is None:  # DINOv3 has positions in the attention
        return tokens, None
    positions = ops.convert_to_numpy(getattr(positions, "embeddings", positions))
    positions = np.reshape(positions, (-1, channels))
    shape = getattr(network, "position_embedding_shape", network.image_shape)
    own = [side // length for side, length in zip(shape, patch, strict=False)]
    placed = len(positions) - math.prod(own)  # tokens with a position, which come first
    tokens[:placed] += positions[:placed]
    positions = np.reshape(positions[placed:], (*own, channels))
    if own != grid:
        antialias = getattr(network, "antialias_in_interpolation", True)
        positions = ops.image.resize(positions, grid, "bicubic", antialias=antialias)
    return tokens, np.reshape(positions, (-1, channels))


def _table(x: KerasTensor, rows: np.ndarray, name: str) -> KerasTensor:
    import keras_hub

    table = keras_hub.layers.PositionEmbedding(len(rows), name=name)
    y = table(x)
    table.set_weights([rows])
    return y


def _encode(network: Model, pixels: KerasTensor, x: KerasTensor, num_tokens: int) -> KerasTensor:
    if hasattr(network, "rope_embedding"):
        angles = network.rope_embedding(pixels)
        x, _ = network.encoder(x, position_embeddings=angles, num_prefix_tokens=num_tokens)
        return network.layernorm(x)
    for layer in network.layers[2:]:
        if layer is not getattr(network, "head", None):  # SigLIP's pooling
            x = layer(x)
            x = x[0] if isinstance(x, tuple) else x
    return x


def _as_map(x: KerasTensor, num_tokens: int, grid: list[int]) -> KerasTensor:
    num_patches = math.prod(grid)
    patches = layers.Cropping1D((num_tokens, 0), name="patch_tokens")(x)
    if num_tokens:
        first = layers.Cropping1D((0, num_tokens + num_patches - 1), name="class_token")(x)
        first = layers.Flatten(name="class_features")(first)
        everywhere = layers.RepeatVector(num_patches, name="class_everywhere")(first)
        patches = layers.Concatenate(name="class_and_patches")([everywhere, patches])
    return layers.Reshape((*grid, -1), name="feature_map")(patches)
