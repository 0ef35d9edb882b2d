"""The part of a training model that embeds."""

import keras

from pa_keras.layers import Proxies


def embedding_part(model: keras.Model) -> keras.Model:
    """The part of a training model before its `Proxies` layer, or all of it if it has none.

    Raises:
        ValueError: The model has several `Proxies` layers, or has one and is subclassed or not
            built.
    """
    proxies = [layer for layer in model.layers if isinstance(layer, Proxies)]
    if not proxies:
        return model
    if len(proxies) > 1:
        raise ValueError(
            f"Expected one Proxies layer in the model; received {len(proxies)}. Give RecallAtK an "
            "embedding_model."
        )
    if not (model.built and hasattr(model, "inputs")):
        raise ValueError(
            "Expected a model of keras.Model(inputs, outputs), or a Sequential that starts with "
            f"keras.Input; received a {type(model).__name__} whose part before its Proxies layer "
            "Keras does not know. Give RecallAtK that part as embedding_model."
        )
    # Keras warns if a model of a list of inputs is called with a tensor.
    inputs = model.inputs[0] if len(model.inputs) == 1 else model.inputs
    return keras.Model(inputs, proxies[0].input, name="embedding")
