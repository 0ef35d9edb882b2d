"""A checksum that says which model computed some embeddings."""

import hashlib

import keras


def checksum(model: keras.Model) -> str:
    """SHA-256 of a model's input size and weights, to tell which model computed some embeddings.

    Saving and loading does not change it; another epoch of training does.

    Args:
        model: Any built model.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> from pa_keras.models import embedding_model
        >>> len(checksum(embedding_model("conv4", 64, (64, 64), weights=None)))
        64
    """
    digest = hashlib.sha256(str(model.input_shape).encode())
    for variable in model.weights:
        digest.update(f"{tuple(variable.shape)} {variable.dtype}".encode())
        digest.update(variable.numpy().tobytes())
    return digest.hexdigest()
