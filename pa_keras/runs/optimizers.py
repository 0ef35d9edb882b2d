"""The optimizers of a run, from its settings."""

from collections.abc import Callable

import keras
from keras.optimizers import schedules

from pa_keras.config import FitConfig
from pa_keras.runs.loss import make_optimizer
from pa_keras.training import decayed, layer_decay_factors, reference_optimizers


def make_optimizers(
    config: FitConfig, model: keras.Model, steps_per_epoch: int
) -> Callable[[int], keras.optimizers.Optimizer]:
    """The function from the first epoch of a phase to its optimizer."""
    settings = config.optimizer
    reference = config.recipe == "reference"

    def rate(peak: float, first_epoch: int) -> float | schedules.LearningRateSchedule:
        warming_up = first_epoch < config.training.warmup_epochs
        return decayed(
            peak,
            "constant" if warming_up and not reference else settings.decay,
            steps_per_epoch,
            config.training.epochs,
            first_epoch,
            settings.decay_epochs,
            settings.decay_factor,
        )

    def own_rate(first_epoch: int) -> float | schedules.LearningRateSchedule:
        return rate(settings.learning_rate, first_epoch)

    def proxies_rate(first_epoch: int) -> float | schedules.LearningRateSchedule:
        return rate(settings.learning_rate * settings.proxies_multiplier, first_epoch)

    if reference:
        return reference_optimizers(
            model,
            own_rate,
            proxies_rate,
            settings.weight_decay,
            settings.clip_value,
            layer_decay_factors(model, settings.layer_decay),
            config.training.weight_averaging,
        )
    return lambda first_epoch: make_optimizer(
        config, model, own_rate(first_epoch), proxies_rate(first_epoch)
    )
