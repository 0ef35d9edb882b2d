"""What of a backbone, and of its batch normalization, is trained."""

import keras
from keras import layers

from pa_keras.models.all_layers import all_layers


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
        >>> from pa_keras.models import embedding_model, with_proxies
        >>> model = with_proxies(embedding_model("conv4", 64, (64, 64), weights=None), 98)
        >>> set_trainable(model, train_backbone=False, batch_norm="train")
        >>> [variable.path for variable in model.trainable_variables]
        ['embedding/kernel', 'embedding/bias', 'proxies/proxies']
    """
    backbone = model.get_layer("embedding_model").get_layer("backbone")
    backbone.trainable = train_backbone  # sets every layer within
    set_batch_norm(
        backbone,
        statistics=batch_norm == "train" and (train_backbone or statistics_in_warmup),
        affine=batch_norm != "frozen" and train_backbone,
    )


def set_batch_norm(backbone: keras.Model, statistics: bool, affine: bool) -> None:
    """Sets what of every batch normalization layer is trained.

    Args:
        backbone: The model that holds the layers, at any depth.
        statistics: Whether the moving mean and variance follow the batches.
        affine: Whether gamma and beta are trained.
    """
    for layer in all_layers(backbone):
        if isinstance(layer, layers.BatchNormalization):
            # A layer that is not trainable normalises by its statistics, yet its weights can be
            # trained one by one. Calling the backbone with training=False would not do: Keras 3
            # hands the training=True of `fit` down to every nested layer.
            layer.trainable = statistics  # passed on to the weights if it is a change
            for weight in layer.weights[:-2]:  # gamma and beta, where it has them
                weight.trainable = affine
