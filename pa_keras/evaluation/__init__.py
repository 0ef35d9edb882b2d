"""Embedding images with a model, and measuring its retrieval."""

from typing import Any

from pa_keras.backend import explained_imports
from pa_keras.evaluation.embedder import Embedder, embed

__all__ = ["Embedder", "embed", "embed_images"]


def __getattr__(name: str) -> Any:
    # It decodes images by TensorFlow, which the others do not need.
    if name != "embed_images":
        raise AttributeError(f"module 'pa_keras.evaluation' has no attribute {name!r}")
    with explained_imports("pa_keras.evaluation.embed_images"):
        from pa_keras.evaluation.image_embeddings import embed_images
    return embed_images
