"""The model to train: pixels to cosines with the proxies of the classes."""

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
        ValueError: num_classes below 2; a model without a known input shape, of several inputs or
            outputs, with proxies already, or of an output that is not (batch, embedding_size).

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
