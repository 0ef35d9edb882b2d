"""Models in mixed precision, as float32 models."""

import keras

from pa_keras.models.all_layers import all_layers


def in_float32(model: keras.Model) -> keras.Model:
    """The model itself, or if it computes in mixed precision, a copy that does in float32.

    A server's CPU and a phone have no fast bfloat16, and the weights are float32 in any case.

    Args:
        model: of stock layers, built.

    Example:
        >>> from pa_keras.models import embedding_model
        >>> model = embedding_model("conv4", 64, (64, 64), weights=None)
        >>> in_float32(model) is model
        True
    """
    policies = {layer.dtype_policy.name for layer in all_layers(model)}
    if policies == {"float32"}:
        return model
    text = model.to_json()
    for policy in policies - {"float32"}:
        text = text.replace(f'"{policy}"', '"float32"')
    copy = keras.models.model_from_json(text)
    copy.set_weights(model.get_weights())
    return copy
