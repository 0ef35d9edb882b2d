"""Layers for training, on top of an embedding model."""

from pa_keras.layers.cross_batch_memory import CrossBatchMemory
from pa_keras.layers.proxies import Proxies
from pa_keras.layers.soft_triple_regularizer import SoftTripleRegularizer

__all__ = ["CrossBatchMemory", "Proxies", "SoftTripleRegularizer"]
