"""The update of AdamW as one fused TensorFlow operation; other backends never import this file."""

import keras
import tensorflow as tf

from pa_keras.training import adamw_step
from pa_keras.training.adamw_step import Step


def update(
    variable: tf.Variable,
    moment: keras.Variable,
    velocity: keras.Variable,
    gradient: tf.Tensor,
    step: Step,
) -> None:
    """Updates a weight and its moments in place.

    Args:
        variable: The weight; in half precision it is updated by separate operations.
        moment: Its first moment m.
        velocity: Its second moment v.
        gradient: Gradient of the complete batch, clipped, in the dtype of the moments.
        step: The scalars of the update.
    """
    m, v = moment.value, velocity.value
    if variable.dtype != m.dtype:
        # The fused operation needs the same dtype for all of its inputs.
        adamw_step.update(variable, moment, velocity, gradient, step)
        return
    if step.decay is not None:
        # Wait for the gradient, or the products would be kept from the start of the step.
        with tf.control_dependencies([gradient]):
            variable.assign_sub(variable * step.decay)
    beta_2_power = step.beta_2**step.number
    tf.raw_ops.ResourceApplyAdam(
        var=variable.handle,
        m=m.handle,
        v=v.handle,
        beta1_power=step.beta_1**step.number,
        beta2_power=beta_2_power,
        lr=step.rate,
        beta1=step.beta_1,
        beta2=step.beta_2,
        # The fused operation adds epsilon to sqrt(v) before the correction.
        epsilon=step.epsilon * tf.sqrt(1 - beta_2_power),
        grad=gradient,
    )
