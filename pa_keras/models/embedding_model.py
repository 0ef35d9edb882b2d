"""The embedding model, from raw pixels to unit vectors."""

import math
from pathlib import Path

import keras
from keras import layers

from pa_keras import backbones
from pa_keras.arguments.integers import as_integer
from pa_keras.layers import Proxies
from pa_keras.models.batch_norm import set_batch_norm

_BATCH_NORM = ("train", "frozen", "frozen_statistics")


def embedding_model(
    backbone: str,
    embedding_size: int = 512,
    image_size: int | tuple[int, int] = (224, 224),
    weights: str | Path | None = "imagenet",
    batch_norm: str = "train",
    seed: int | None = None,
) -> keras.Model:
    """Builds the embedding model: backbone, average + max pooling, Dense and l2 normalization.

        x = l2(W (avg(f) + max(f)) + b),   W ~ N(0, sqrt(2 / embedding_size)),   b = 0

    Args:
        backbone: Name of a backbone: one of `backbones.names()`, or `keras_hub/PRESET`.
        embedding_size: D, at least 1. Default 512.
        image_size: (height, width) in pixels, or one number for both. Default (224, 224).
        weights: Weights of the backbone: "imagenet" (default), None (random), or a file.
        batch_norm: Batch normalization of the backbone: "train" (default); "frozen": statistics,
            scale and offset are frozen; "frozen_statistics": only the statistics are frozen, as in
            the authors' code.
        seed: Seed of the embedding layer. Default None: a random seed.

    Returns:
        Model named "embedding_model" from images (B, H, W, 3), float32 in 0..255, to embeddings
        (B, D) of unit length, float32 under every dtype policy. All layers are stock layers:
        `keras.models.load_model` can load it.

    Raises:
        ValueError: If an argument is out of its range. `backbones.build` raises further errors.

    Example:
        >>> embedding_model("conv4", 64, (64, 64), weights=None).output_shape
        (None, 64)

    Source: Kim et al., Proxy Anchor Loss for Deep Metric Learning, CVPR 2020, section 4.2.
    """
    embedding_size = as_integer("embedding_size", embedding_size, least=1)
    seed = None if seed is None else as_integer("seed", seed)
    if batch_norm not in _BATCH_NORM:
        raise ValueError(
            f"Expected batch_norm to be one of {', '.join(_BATCH_NORM)}; received {batch_norm!r}. "
            "Use 'train' unless batches are small."
        )
    network = backbones.build(backbone, image_size, weights)
    set_batch_norm(network, statistics=batch_norm == "train", affine=batch_norm != "frozen")
    images = keras.Input(network.input_shape[1:], name="images")
    embeddings = _embed(network(images), embedding_size, seed)
    return keras.Model(images, embeddings, name="embedding_model")


def _embed(features: keras.KerasTensor, embedding_size: int, seed: int | None) -> keras.KerasTensor:
    # float32 under every policy, since similarities must be exact to the third digit.
    average = layers.GlobalAveragePooling2D(dtype="float32", name="average_pooling")(features)
    maximum = layers.GlobalMaxPooling2D(dtype="float32", name="max_pooling")(features)
    pooled = layers.Add(dtype="float32", name="pooled")([average, maximum])
    embedding = layers.Dense(
        embedding_size,
        kernel_initializer=keras.initializers.RandomNormal(
            stddev=math.sqrt(2 / embedding_size), seed=seed
        ),
        dtype="float32",
        name="embedding",
    )
    return layers.UnitNormalization(dtype="float32", name="unit_length")(embedding(pooled))


def expect_one_input_and_output(model: keras.Model) -> None:
    """Raises a ValueError unless a model has one input, one output, and no proxies."""
    if not (isinstance(model, keras.Model) and model.built and hasattr(model, "inputs")):
        raise ValueError(
            "Expected a model with a known input shape: a keras.Model(inputs, outputs), or a "
            f"Sequential that starts with keras.Input; received a {type(model).__name__} without. "
            "Call it on a keras.Input: keras.Model(images, model(images))."
        )
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ValueError(
            "Expected an embedding model with one input and one output; received one with "
            f"{len(model.inputs)} and {len(model.outputs)}. Build it from the images to the "
            "embeddings only."
        )
    if any(isinstance(layer, Proxies) for layer in model.layers):
        raise ValueError(
            "Expected an embedding model; received the model to train, with proxies. Pass its "
            "model.get_layer('embedding_model'), or save that if it is in a file."
        )


def expect_embedding_model(model: keras.Model) -> None:
    """Raises a ValueError unless a model maps images (B, H, W, 3) to embeddings (B, D)."""
    expect_one_input_and_output(model)
    image_shape = model.input_shape[1:]
    is_rgb = len(image_shape) == 3 and None not in image_shape and image_shape[-1] == 3
    if not is_rgb or len(model.output_shape) != 2:
        raise ValueError(
            "Expected a model from images (batch, height, width, 3) of a fixed size, to embeddings "
            f"(batch, D); received {model.input_shape} to {model.output_shape}."
        )
