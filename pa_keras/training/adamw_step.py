"""The update of AdamW in operations of Keras, for every backend."""

from dataclasses import dataclass
from typing import Any

import keras
from keras import ops


@dataclass(frozen=True)
class Step:
    """The scalars of an update, as tensors of the backend in the dtype of the moments.

    Args:
        rate: Learning rate of this weight.
        decay: Share of the weight that decays. None: it does not decay.
        number: Number t of the step, from 1.
        beta_1: Decay of the moment.
        beta_2: Decay of the velocity.
        epsilon: Term in the denominator, a float.
    """

    rate: Any
    decay: Any
    number: Any
    beta_1: Any
    beta_2: Any
    epsilon: float


def update(
    variable: Any, moment: keras.Variable, velocity: keras.Variable, gradient: Any, step: Step
) -> None:
    """Updates a weight and its moments.

    Args:
        variable: The weight, maybe in half precision.
        moment: Its first moment m.
        velocity: Its second moment v.
        gradient: Gradient of the complete batch, clipped, in the dtype of the moments.
        step: The scalars of the update.
    """
    moment.assign(moment + (gradient - moment) * (1 - step.beta_1))
    velocity.assign(velocity + (ops.square(gradient) - velocity) * (1 - step.beta_2))
    root = ops.sqrt(velocity / (1 - step.beta_2**step.number))
    value = ops.cast(variable, moment.dtype)
    if step.decay is not None:
        value = value - value * step.decay
    value = value - step.rate * moment / (1 - step.beta_1**step.number) / (root + step.epsilon)
    variable.assign(ops.cast(value, keras.backend.standardize_dtype(variable.dtype)))
