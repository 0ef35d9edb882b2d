"""Embedding images with a model, and measuring its retrieval."""

from pa_keras.evaluation.embedder import Embedder, embed
from pa_keras.evaluation.image_embeddings import embed_images

__all__ = ["Embedder", "embed", "embed_images"]
