"""The value of a function of tensors and its gradients, on the backend that is set."""

import keras
import numpy as np
from keras import ops

BACKEND = keras.backend.backend()


def value_and_gradients(function, *arrays, compiled=BACKEND == "jax"):
    """Returns a number and the gradient by each array.

    `compiled` means XLA, and nothing on torch. JAX compiles each operation of an eager step, too,
    and takes longer over it.
    """
    tensors = [ops.convert_to_tensor(np.asarray(each, "float32")) for each in arrays]
    if BACKEND == "tensorflow":
        import tensorflow as tf

        def step(*tensors):
            with tf.GradientTape() as tape:
                tape.watch(tensors)
                value = function(*tensors)
            return value, tape.gradient(value, tensors)

        value, gradients = (tf.function(step, jit_compile=True) if compiled else step)(*tensors)
    elif BACKEND == "jax":
        import jax

        step = jax.value_and_grad(function, argnums=tuple(range(len(tensors))))
        value, gradients = (jax.jit(step) if compiled else step)(*tensors)
    else:
        import torch

        tensors = [each.requires_grad_() for each in tensors]
        value = function(*tensors)
        gradients = torch.autograd.grad(value, tensors)
        value = value.detach()
    return float(value), [ops.convert_to_numpy(each) for each in gradients]


def jitted(function):
    """The function as XLA compiles it; on torch, which does not, the function itself."""
    if BACKEND == "jax":
        import jax

        return jax.jit(function)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.function(function, jit_compile=True)
    return function
