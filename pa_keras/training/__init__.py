"""Training: optimizers, callbacks, the phases of a run, and its folder."""

from pa_keras.training.embedding import Embedder, embed
from pa_keras.training.optimizers import adamw, decayed, two_rate_adamw
from pa_keras.training.recall_at_k import RecallAtK

__all__ = ["Embedder", "RecallAtK", "adamw", "decayed", "embed", "two_rate_adamw"]
