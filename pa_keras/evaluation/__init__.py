"""Embedding images with a model, and measuring its retrieval."""

from pa_keras.evaluation.embedder import Embedder, embed

__all__ = ["Embedder", "embed"]
