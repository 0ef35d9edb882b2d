"""The optimizer of the authors' code, reproduced step by step."""

import re
from collections.abc import Callable, Mapping

import keras
from keras.optimizers import schedules

from pa_keras.layers import Proxies
from pa_keras.training.optimizers import adamw

# From the first epoch of an optimizer to its learning rate.
RateFrom = Callable[[int], float | schedules.LearningRateSchedule]


def reference_optimizers(
    model: keras.Model,
    learning_rate: RateFrom,
    proxies_learning_rate: RateFrom,
    weight_decay: float = 1e-4,
    clip_value: float | None = 10.0,
    rate_factors: Mapping[str, float] | None = None,
    weight_averaging: float = 0.0,
) -> Callable[[int], keras.optimizers.Optimizer]:
    """The optimizers of the phases of a run: one `AdamW` for each of three groups of weights.

    Each phase has a new optimizer for the backbone, with new moments and step count; the optimizers
    of the embedding layer and of the proxies continue through the complete run.

    Args:
        model: Model with an `embedding_model` inside, such as one from `with_proxies`; proxies are
            optional.
        learning_rate: Function from the first epoch of a phase to the learning rate, or schedule,
            of backbone and embedding layer.
        proxies_learning_rate: The same for the proxies; the authors use 100 times the other.
        weight_decay: Decoupled decay of all weights. Default 1e-4.
        clip_value: Largest magnitude of each component of the gradients, > 0. None: no clipping.
            Default 10.
        rate_factors: Factor on the learning rate by the path of a weight, such as
            `layer_decay_factors` gives. Default None: no factors.
        weight_averaging: Momentum of the exponential moving average of the weights, in [0, 1), as
            `use_ema` and `ema_momentum` of Keras. Default 0.0: no average.

    Raises:
        ValueError: The model has no such layer.

    Returns:
        Function from the first epoch of a phase to its optimizer, to be called once for each phase,
        in order. It raises a ValueError for weight_decay below 0 or clip_value not above 0.

    Example:
        >>> from pa_keras.models import embedding_model, with_proxies
        >>> model = with_proxies(embedding_model("conv4", 64, (32, 32), weights=None), 98)
        >>> phase = reference_optimizers(model, lambda epoch: 1e-4, lambda epoch: 1e-2)
        >>> model.compile(phase(0), loss="mse")

    Source: the code that the authors of Proxy-Anchor (CVPR 2020) published, train.py.
    """

    def with_rate(rate: float | schedules.LearningRateSchedule) -> keras.optimizers.Optimizer:
        return adamw(rate, weight_decay, clip_value, rate_factors, weight_averaging)

    inner = [layer for layer in model.layers if layer.name == "embedding_model"]
    if not (inner and inner[0].built):
        raise ValueError(
            f"Expected a model of with_proxies(embedding_model, num_classes); received "
            f"{model.name!r} without a built layer 'embedding_model'."
        )
    embedding = with_rate(learning_rate(0))
    weights = inner[0].get_layer("embedding").weights
    # The map's keys are regular expressions for whole paths of variables.
    kept = {re.escape(variable.path): embedding for variable in weights}
    for layer in model.layers:
        if isinstance(layer, Proxies):
            kept[re.escape(layer.proxies.path)] = with_rate(proxies_learning_rate(0))

    def of_phase(first_epoch: int) -> keras.optimizers.Optimizer:
        backbone = with_rate(learning_rate(first_epoch))
        return keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(backbone, kept))

    return of_phase
