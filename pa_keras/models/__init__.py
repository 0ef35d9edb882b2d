"""Embedding models: from pixels to unit vectors, and to cosines with proxies."""

from pa_keras.models.embedding_model import (
    checksum,
    embedding_model,
    expect_embedding_model,
    in_float32,
    set_trainable,
    with_proxies,
)

__all__ = [
    "checksum",
    "embedding_model",
    "expect_embedding_model",
    "in_float32",
    "set_trainable",
    "with_proxies",
]
