"""AdamW with a separate learning rate for the proxies, and decays of both rates."""

import re
from collections.abc import Mapping
from typing import Literal

import keras
from keras.optimizers import schedules

from pa_keras.layers import Proxies
from pa_keras.training.adamw import AdamW


def two_rate_adamw(
    model: keras.Model,
    learning_rate: float | schedules.LearningRateSchedule,
    proxies_learning_rate: float | schedules.LearningRateSchedule,
    weight_decay: float = 1e-4,
    clip_value: float | None = 10.0,
    rate_factors: Mapping[str, float] | None = None,
    weight_averaging: float = 0.0,
) -> keras.optimizers.Optimizer:
    """AdamW (betas 0.9 and 0.999, epsilon 1e-8) with a separate learning rate for the proxies.

    A proxy is a single vector that only its own gradient moves; at the learning rate of a
    pretrained network it would hardly leave its random start.

    Args:
        model: Model with a `Proxies` layer, such as one from `pa_keras.models.with_proxies`.
        learning_rate: Learning rate of everything but the proxies, > 0, or a schedule.
        proxies_learning_rate: Learning rate of the proxies; the paper uses 100 times the other.
        weight_decay: Decoupled decay, per step and unit of learning rate. Default 1e-4.
        clip_value: Largest magnitude of each component of the gradients, > 0. None: no clipping.
            Default 10.
        rate_factors: Factor on the learning rate by the path of a weight, such as
            `layer_decay_factors` gives. Default None: no factors.
        weight_averaging: Momentum of the exponential moving average of the weights, in [0, 1), as
            `use_ema` and `ema_momentum` of Keras. Default 0.0: no average.

    Returns:
        A `keras.optimizers.MultiOptimizer`. Its own `learning_rate` cannot be read or set: use a
        schedule for a learning rate that changes.

    Raises:
        ValueError: The model has no `Proxies` layer, or is not built yet; weight_decay is below 0;
            clip_value is not above 0; weight_averaging is not in [0, 1).

    Example:
        >>> from pa_keras.models import embedding_model, with_proxies
        >>> model = with_proxies(embedding_model("conv4", 64, (32, 32), weights=None), 98)
        >>> model.compile(two_rate_adamw(model, 1e-4, 1e-2), loss="mse")

    Source: Kim et al., Proxy Anchor Loss for Deep Metric Learning, CVPR 2020, section 4.2.
    """
    proxies = [layer for layer in model.layers if isinstance(layer, Proxies)]
    if not proxies:
        raise ValueError(
            f"Expected a model with a Proxies layer; received {model.name!r} without one. Create "
            "it by with_proxies(embedding_model, num_classes)."
        )

    def with_rate(rate: float | schedules.LearningRateSchedule) -> keras.optimizers.Optimizer:
        return adamw(rate, weight_decay, clip_value, rate_factors, weight_averaging)

    unbuilt = [layer.name for layer in proxies if not layer.built]
    if unbuilt:
        raise ValueError(
            f"Expected a model that is built; the layer {unbuilt[0]!r} has no weights yet. Let the "
            "model start with keras.Input, or call it once on images, and then make the optimizer."
        )
    # The map's keys are regular expressions for whole paths of variables.
    own = {re.escape(layer.proxies.path): with_rate(proxies_learning_rate) for layer in proxies}
    return keras.optimizers.MultiOptimizer(
        keras.optimizers.OptimizerMap(with_rate(learning_rate), own)
    )


def adamw(
    learning_rate: float | schedules.LearningRateSchedule,
    weight_decay: float = 1e-4,
    clip_value: float | None = 10.0,
    rate_factors: Mapping[str, float] | None = None,
    weight_averaging: float = 0.0,
) -> keras.optimizers.Optimizer:
    """AdamW with the settings of `two_rate_adamw` and one rate, for losses without proxies.

    Args:
        learning_rate: Learning rate, > 0, or a schedule.
        weight_decay: Decoupled decay, per step and unit of learning rate. Default 1e-4.
        clip_value: Largest magnitude of each component of the gradients, > 0. None: no clipping.
            Default 10.
        rate_factors: Factor on the learning rate by the path of a weight, such as
            `layer_decay_factors` gives. Default None: no factors.
        weight_averaging: Momentum of the exponential moving average of the weights, in [0, 1), as
            `use_ema` and `ema_momentum` of Keras. Default 0.0: no average.

    Raises:
        ValueError: weight_decay is below 0; clip_value is not above 0; weight_averaging is not in
            [0, 1).

    Example:
        >>> round(float(adamw(1e-4).learning_rate), 6)
        0.0001
    """
    if not weight_decay >= 0:
        raise ValueError(f"Expected weight_decay of 0 or more; received {weight_decay}.")
    if clip_value is not None and not clip_value > 0:
        raise ValueError(
            f"Expected clip_value above 0, or null for no clipping; received {clip_value}."
        )
    if not 0 <= weight_averaging < 1:
        raise ValueError(f"Expected weight_averaging in [0, 1); received {weight_averaging}.")
    return AdamW(
        learning_rate,
        weight_decay,
        epsilon=1e-8,
        clipvalue=clip_value,
        rate_factors=rate_factors,
        use_ema=weight_averaging > 0,
        ema_momentum=weight_averaging,
    )


def decayed(
    learning_rate: float,
    decay: Literal["cosine", "staircase", "constant"],
    steps_per_epoch: int,
    epochs: int,
    first_epoch: int = 0,
    decay_epochs: int = 10,
    decay_factor: float = 0.5,
) -> float | schedules.LearningRateSchedule:
    """The learning rate of an optimizer that starts at `first_epoch` of `epochs`.

    Args:
        learning_rate: Peak of the learning rate, 0 or more; 0 freezes the proxies.
        decay: "cosine": to 1 % of the peak over the remaining epochs; "staircase": times
            decay_factor every decay_epochs, counted from epoch 0; "constant".
        steps_per_epoch: Number of optimizer steps in an epoch.
        epochs: Number of epochs of the run.
        first_epoch: Number of epochs that another optimizer trained before. Default 0.
        decay_epochs: Number of epochs from one drop of the staircase to the next. Default 10.
        decay_factor: Factor of each drop, in (0, 1]. Default 0.5.

    Returns:
        A number, or a Keras schedule that counts the steps of this optimizer.

    Raises:
        ValueError: The decay is unknown, or a number is out of its range.

    Example:
        >>> rate = decayed(1e-3, "staircase", steps_per_epoch=10, epochs=30)
        >>> [round(float(rate(step)), 6) for step in (99, 101, 201)]
        [0.001, 0.0005, 0.00025]
    """
    if not learning_rate >= 0:
        raise ValueError(f"Expected learning_rate of 0 or more; received {learning_rate}.")
    if not 0 < decay_factor <= 1:
        raise ValueError(f"Expected decay_factor in (0, 1]; received {decay_factor}.")
    if decay_epochs < 1:
        raise ValueError(f"Expected decay_epochs of 1 or more; received {decay_epochs}.")
    match decay:
        case "constant":
            return learning_rate
        case "cosine":
            steps = steps_per_epoch * (epochs - first_epoch)
            return schedules.CosineDecay(learning_rate, steps, alpha=0.01)
        case "staircase":
            # One boundary lies beyond the end, so that this is always a schedule: a number would be
            # a variable, which the checkpoint of a shorter run does not have.
            stairs = range(decay_epochs, epochs + decay_epochs, decay_epochs)
            passed = sum(stair <= first_epoch for stair in stairs)
            ahead = [stair for stair in stairs if stair > first_epoch]
            values = [learning_rate * decay_factor**n for n in range(passed, len(stairs) + 1)]
            # At the step of a boundary, the value before it still holds.
            boundaries = [(stair - first_epoch) * steps_per_epoch - 1 for stair in ahead]
            return schedules.PiecewiseConstantDecay(boundaries, values)
    raise ValueError(f"Expected decay to be cosine, staircase or constant; received {decay!r}.")
