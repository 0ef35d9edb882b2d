"""Converts mixed-precision models to float32."""

import keras

from pa_keras.models.all_layers import all_layers


def in_float32(model: keras.Model) -> keras.Model:
    """Returns the model, or a float32 copy if it computes in mixed precision.

    Server CPUs and phones have no fast bfloat16, and the weights are float32 in any case.

    Args:
        model: Built model of stock layers.

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
