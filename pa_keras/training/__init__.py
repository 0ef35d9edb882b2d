"""Training: optimizers, callbacks, the training step, and the phases of a run."""

from pa_keras.training.adamw import AdamW
from pa_keras.training.callbacks.recall_at_k import RecallAtK
from pa_keras.training.layer_decay import layer_decay_factors
from pa_keras.training.optimizers import adamw, decayed, two_rate_adamw
from pa_keras.training.paper_optimizer import reference_optimizers

__all__ = [
    "AdamW",
    "RecallAtK",
    "adamw",
    "decayed",
    "layer_decay_factors",
    "reference_optimizers",
    "two_rate_adamw",
]
