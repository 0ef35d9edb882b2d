"""Training: optimizers, callbacks, the phases of a run, and its folder."""

from pa_keras.training.embedding import Embedder, embed
from pa_keras.training.fused_adamw import AdamW
from pa_keras.training.optimizers import adamw, decayed, two_rate_adamw
from pa_keras.training.recall_at_k import RecallAtK
from pa_keras.training.reference import reference_optimizers

__all__ = [
    "AdamW",
    "Embedder",
    "RecallAtK",
    "adamw",
    "decayed",
    "embed",
    "reference_optimizers",
    "two_rate_adamw",
]
