"""Embedding models, from pixels to unit vectors, and models to train, from pixels to cosines."""

from pa_keras.models.all_layers import all_layers
from pa_keras.models.batch_norm import set_trainable
from pa_keras.models.blocks import backbone_blocks
from pa_keras.models.checksum import checksum
from pa_keras.models.embedding_model import embedding_model, expect_embedding_model
from pa_keras.models.in_float32 import in_float32
from pa_keras.models.with_memory import MEMORY_LOSSES, MemoryModel, with_memory
from pa_keras.models.with_proxies import with_proxies

__all__ = [
    "MEMORY_LOSSES",
    "MemoryModel",
    "all_layers",
    "backbone_blocks",
    "checksum",
    "embedding_model",
    "expect_embedding_model",
    "in_float32",
    "set_trainable",
    "with_memory",
    "with_proxies",
]
