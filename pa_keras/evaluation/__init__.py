"""Embedding images with a model, and measuring what it retrieves."""

from pa_keras.evaluation.embedder import Embedder, embed

__all__ = ["Embedder", "embed"]
