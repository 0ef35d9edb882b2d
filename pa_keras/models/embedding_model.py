"""The two models of a run: pixels to embeddings, and for training pixels to cosines."""

import hashlib
import math
from pathlib import Path

import keras
from keras import layers

from pa_keras import backbones
from pa_keras.layers import Proxies

_BATCH_NORM = ("train", "frozen", "frozen_statistics")


def embedding_model(
    backbone: str,
    embedding_size: int = 512,
    image_size: tuple[int, int] = (224, 224),
    weights: str | Path | None = "imagenet",
    batch_norm: str = "train",
    seed: int | None = None,
) -> keras.Model:
    """Raw pixels to embeddings of unit length: backbone, average + max pooling, Dense, l2.

        x = l2(W (avg(f) + max(f)) + b),   W ~ N(0, sqrt(2 / embedding_size)),   b = 0

    Args:
        backbone: a name of `backbones.names()`.
        embedding_size: D, at least 1. Default 512.
        image_size: (height, width) in pixels. Default (224, 224).
        weights: of the backbone: "imagenet" (default), None (random), or a file.
        batch_norm: of the backbone: "train" (default); "frozen": statistics, scale and offset stay
            as they are; "frozen_statistics": only the statistics stay, as in the authors' code.
        seed: seed of the embedding layer. Default None: another start every time.

    Returns:
        Model named "embedding_model", (B, H, W, 3) float32 in 0..255 -> (B, D) float32 of unit
        length under every dtype policy. It is of stock layers: `keras.models.load_model` is enough.

    Raises:
        ValueError: an argument out of its range, or what `backbones.build` raises.

    Example:
        >>> embedding_model("conv4", 64, (64, 64), weights=None).output_shape
        (None, 64)

    Source: Kim et al., Proxy Anchor Loss for Deep Metric Learning, CVPR 2020, section 4.2.
    """
    if not isinstance(embedding_size, int) or embedding_size < 1:
        raise ValueError(
            f"Expected embedding_size of 1 or more; received {embedding_size!r}. Use 512, say."
        )
    if batch_norm not in _BATCH_NORM:
        raise ValueError(
            f"Expected batch_norm to be one of {', '.join(_BATCH_NORM)}; received {batch_norm!r}. "
            "Use 'train' unless batches are small."
        )
    network = backbones.build(backbone, image_size, weights)
    _set_batch_norm(network, statistics=batch_norm == "train", affine=batch_norm != "frozen")
    images = keras.Input(network.input_shape[1:], name="images")
    embeddings = _embed(network(images), embedding_size, seed)
    return keras.Model(images, embeddings, name="embedding_model")


def _embed(features: keras.KerasTensor, embedding_size: int, seed: int | None) -> keras.KerasTensor:
    # float32 under every policy: the vectors are compared to the third digit.
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


def with_proxies(
    embedding_model: keras.Model,
    num_classes: int,
    centers_per_class: int | None = None,
    regularizer: keras.regularizers.Regularizer | None = None,
    seed: int | None = None,
) -> keras.Model:
    """The model to train: the embedding model and the learned proxies of the classes on top.

    Args:
        embedding_model: model to (B, D) embeddings; it stays a layer of the result under its own
            name and shares its weights, so after training it is the model to keep.
        num_classes: C, classes of the training set, at least 2.
        centers_per_class: K, as of `Proxies`. Default None: one proxy a class.
        regularizer: of the proxies. Default None.
        seed: seed of the initial proxies. Default None: another start every time.

    Returns:
        Model of the same input to cosines (B, C), or (B, C, K), float32; its layer "proxies" holds
        the proxies.

    Raises:
        ValueError: num_classes below 2; an output that is not (batch, embedding_size).

    Example:
        >>> embedder = embedding_model("conv4", 64, (64, 64), weights=None)
        >>> with_proxies(embedder, 98).output_shape
        (None, 98)
    """
    images = keras.Input(embedding_model.input_shape[1:], name="images")
    proxies = Proxies(num_classes, centers_per_class, regularizer, seed=seed, name="proxies")
    return keras.Model(images, proxies(embedding_model(images)), name="with_proxies")


def checksum(model: keras.Model) -> str:
    """SHA-256 of a model's input size and weights: which model some embeddings are of.

    Saving and loading does not change it; another epoch of training does.

    Args:
        model: any built model.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> len(checksum(embedding_model("conv4", 64, (64, 64), weights=None)))
        64
    """
    digest = hashlib.sha256(str(model.input_shape).encode())
    for variable in model.weights:
        digest.update(f"{tuple(variable.shape)} {variable.dtype}".encode())
        digest.update(variable.numpy().tobytes())
    return digest.hexdigest()


def expect_embedding_model(model: keras.Model) -> None:
    """Raises a ValueError unless a model maps images (B, H, W, 3) to embeddings (B, D)."""
    if any(isinstance(layer, Proxies) for layer in model.layers):
        raise ValueError(
            "Expected an embedding model; received the model to train, with proxies. Give "
            "model.get_layer('embedding_model') of it."
        )
    image_shape = model.input_shape[1:]
    is_rgb = len(image_shape) == 3 and None not in image_shape and image_shape[-1] == 3
    if not is_rgb or len(model.output_shape) != 2:
        raise ValueError(
            "Expected a model of images (batch, height, width, 3), of a fixed size, to embeddings "
            f"(batch, D); received {model.input_shape} to {model.output_shape}."
        )


def in_float32(model: keras.Model) -> keras.Model:
    """The model itself, or if it computes in mixed precision, a copy that does in float32.

    A server's CPU and a phone have no fast bfloat16, and the weights are float32 in any case.

    Args:
        model: of stock layers, built.

    Example:
        >>> model = embedding_model("conv4", 64, (64, 64), weights=None)
        >>> in_float32(model) is model
        True
    """
    policies = {layer.dtype_policy.name for layer in model._flatten_layers()}
    if policies == {"float32"}:
        return model
    text = model.to_json()
    for policy in policies - {"float32"}:
        text = text.replace(f'"{policy}"', '"float32"')
    copy = keras.models.model_from_json(text)
    copy.set_weights(model.get_weights())
    return copy


def set_trainable(
    model: keras.Model,
    train_backbone: bool,
    batch_norm: str,
    statistics_in_warmup: bool = False,
) -> None:
    """Frees or freezes the backbone of a `with_proxies` model; compile the model afterwards.

    Args:
        model: of `with_proxies`, made from an `embedding_model`.
        train_backbone: whether the backbone's weights shall move; the other layers always do.
        batch_norm: as it was given to `embedding_model`. A model from a file needs it anew:
            the file knows "frozen" in place of "frozen_statistics".
        statistics_in_warmup: whether, with "train", the statistics of batch norm are trained even
            while the weights stand still, as in the authors' code. Default False.

    Example:
        >>> model = with_proxies(embedding_model("conv4", 64, (64, 64), weights=None), 98)
        >>> set_trainable(model, train_backbone=False, batch_norm="train")
        >>> [variable.path for variable in model.trainable_variables]
        ['embedding/kernel', 'embedding/bias', 'proxies/proxies']
    """
    backbone = model.get_layer("embedding_model").get_layer("backbone")
    backbone.trainable = train_backbone  # sets every layer within
    _set_batch_norm(
        backbone,
        statistics=batch_norm == "train" and (train_backbone or statistics_in_warmup),
        affine=batch_norm != "frozen" and train_backbone,
    )


def _set_batch_norm(backbone: keras.Model, statistics: bool, affine: bool) -> None:
    # Some networks of keras_hub hold theirs within other layers.
    for layer in backbone._flatten_layers():
        if isinstance(layer, layers.BatchNormalization):
            # A layer that is not trainable normalises by its statistics, yet its weights can be
            # trained one by one. Calling the backbone with training=False would not do: Keras 3
            # hands the training=True of `fit` down to every nested layer.
            layer.trainable = statistics  # passed on to the weights if it is a change
            for weight in layer.weights[:-2]:  # gamma and beta, where it has them
                weight.trainable = affine
