"""Sets which parts of a backbone and of its batch normalization are trained."""

import keras
from keras import layers

from pa_keras.models.all_layers import all_layers
from pa_keras.models.blocks import freeze_blocks


def set_trainable(
    model: keras.Model,
    train_backbone: bool,
    batch_norm: str,
    statistics_in_warmup: bool = False,
    frozen_blocks: int = 0,
) -> None:
    """Freezes or unfreezes the backbone of a `with_proxies` model; compile the model afterwards.

    Args:
        model: Model of `with_proxies`, made from an `embedding_model`.
        train_backbone: Whether to train the backbone; the other layers are always trained.
        batch_norm: The value given to `embedding_model`. It is needed again for a model from a
            file, since the file stores "frozen" for "frozen_statistics".
        statistics_in_warmup: Whether, with "train", the statistics of batch normalization are also
            updated while the backbone is frozen, as in the authors' code. Default False.
        frozen_blocks: Number of first blocks of the backbone (`backbone_blocks`) that are never
            trained; their batch normalization is in inference mode, whatever `batch_norm` is.
            Default 0.

    Raises:
        ValueError: The backbone has fewer blocks than frozen_blocks.

    Example:
        >>> from pa_keras.models import embedding_model, with_proxies
        >>> model = with_proxies(embedding_model("conv4", 64, (64, 64), weights=None), 98)
        >>> set_trainable(model, train_backbone=False, batch_norm="train")
        >>> [variable.path for variable in model.trainable_variables]
        ['embedding/kernel', 'embedding/bias', 'proxies/proxies']
    """
    embedding_model = model.get_layer("embedding_model")
    backbone = embedding_model.get_layer("backbone")
    # Keras sets the nested layers only where the value changes, and some may be frozen already.
    backbone.trainable = not train_backbone
    backbone.trainable = train_backbone
    set_batch_norm(
        backbone,
        statistics=batch_norm == "train" and (train_backbone or statistics_in_warmup),
        affine=batch_norm != "frozen" and train_backbone,
    )
    freeze_blocks(embedding_model, frozen_blocks)


def set_batch_norm(backbone: keras.Model, statistics: bool, affine: bool) -> None:
    """Sets which weights of every batch normalization layer are trained.

    Args:
        backbone: Model that holds the layers, at any depth.
        statistics: Whether to update the moving mean and variance.
        affine: Whether to train gamma and beta.
    """
    for layer in all_layers(backbone):
        if isinstance(layer, layers.BatchNormalization):
            # A layer that is not trainable normalizes with its moving statistics, yet its weights
            # can be trained one by one. Calling the backbone with training=False would not help:
            # Keras 3 passes the training=True of `fit` on to every nested layer.
            layer.trainable = statistics  # also sets the weights, if it changes
            for weight in layer.weights[:-2]:  # gamma and beta, if the layer has them
                weight.trainable = affine
