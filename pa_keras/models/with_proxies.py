"""The model to train, from pixels to cosines with the proxies."""

import keras

from pa_keras.layers import Proxies
from pa_keras.models.embedding_model import expect_one_input_and_output


def with_proxies(
    embedding_model: keras.Model,
    num_classes: int,
    centers_per_class: int | None = None,
    regularizer: keras.regularizers.Regularizer | None = None,
    seed: int | None = None,
) -> keras.Model:
    """Builds the model to train: the embedding model with a `Proxies` layer on top.

    Args:
        embedding_model: Model to embeddings (B, D). It becomes a layer of the result under its own
            name and shares its weights, so after training it is the model to keep.
        num_classes: C, the number of training classes, at least 2.
        centers_per_class: K of `Proxies`. Default None: one proxy for each class.
        regularizer: Regularizer of the proxies. Default None.
        seed: Seed of the initial proxies. Default None: a random seed.

    Returns:
        Model from the same input to cosines (B, C) or (B, C, K), float32; its layer "proxies" holds
        the proxies.

    Raises:
        ValueError: If num_classes is below 2; or if the model has no known input shape, several
            inputs or outputs, or proxies already, or its output is not (batch, embedding_size).

    Example:
        >>> from pa_keras.models import embedding_model
        >>> embedder = embedding_model("conv4", 64, (64, 64), weights=None)
        >>> with_proxies(embedder, 98).output_shape
        (None, 98)
    """
    expect_one_input_and_output(embedding_model)
    images = keras.Input(embedding_model.input_shape[1:], name="images")
    proxies = Proxies(num_classes, centers_per_class, regularizer, seed=seed, name="proxies")
    return keras.Model(images, proxies(embedding_model(images)), name="with_proxies")
