"""The device of the backend that is set: its name, its precision, and compiled calls on it.

Only the packages of that backend are imported.
"""

import functools
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
from keras import ops

BACKEND = keras.backend.backend()
MODES = {
    "tensorflow": ("tf.function", "XLA"),
    "jax": ("jit", "eager"),
    "torch": ("eager", "torch.compile"),
}[BACKEND]
"""How a step can run: first the way in which Keras runs it by default, then the other."""


def is_accelerator() -> bool:
    """Whether the default device of the backend is not a CPU."""
    return _place() != "cpu"


def name() -> str:
    """The model of the default device."""
    if not is_accelerator():
        models = re.findall(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
        return f"{len(os.sched_getaffinity(0))} cores of {models[0] if models else 'a CPU'}"
    if BACKEND == "torch":
        import torch

        return torch.cuda.get_device_name() if _place() == "cuda" else _place()
    if BACKEND == "jax":
        import jax

        return jax.devices()[0].device_kind
    return _tensorflow_gpu().get("device_name", _place())


def has_tf32() -> bool:
    """Whether the device multiplies float32 in TF32: GPUs of NVIDIA since compute capability 8."""
    if BACKEND == "torch":
        import torch

        is_cuda = _place() == "cuda" and torch.version.cuda is not None
        return is_cuda and torch.cuda.get_device_capability()[0] >= 8
    if BACKEND == "jax":
        import jax

        capability = str(getattr(jax.devices()[0], "compute_capability", ""))
        return bool(re.fullmatch(r"([89]|1\d)\.\d", capability))  # others for GPUs of AMD
    return _tensorflow_gpu().get("compute_capability", (0, 0))[0] >= 8


def set_tf32(allowed: bool) -> None:
    """Sets whether products and convolutions of float32 may be in TF32, for later calls."""
    if BACKEND == "torch":
        import torch

        torch.set_float32_matmul_precision("high" if allowed else "highest")
        torch.backends.cudnn.allow_tf32 = allowed
    elif BACKEND == "jax":
        import jax

        jax.config.update("jax_default_matmul_precision", "tensorfloat32" if allowed else "highest")
    else:
        import tensorflow as tf

        tf.config.experimental.enable_tensor_float_32_execution(allowed)


def compiled(function: Callable, mode: str) -> Callable:
    """The function as it runs in one of the `MODES`."""
    if mode in ("tf.function", "XLA"):
        import tensorflow as tf

        return tf.function(function, jit_compile=mode == "XLA")
    if mode == "jit":
        import jax

        return jax.jit(function)
    if mode == "torch.compile":
        import torch

        return torch.compile(function)
    return function


def value_and_gradients(value: Callable, mode: str) -> Callable:
    """The function that returns `value(embeddings, proxies, labels)` and its two gradients."""
    if BACKEND == "jax":
        import jax

        return compiled(jax.value_and_grad(value, argnums=(0, 1)), mode)
    return _by_tape(value, mode) if BACKEND == "tensorflow" else _by_autograd(value, mode)


def _by_tape(value: Callable, mode: str) -> Callable:
    import tensorflow as tf

    def step(embeddings, proxies, labels):
        with tf.GradientTape() as tape:
            tape.watch(embeddings)
            found = value(embeddings, proxies, labels)
        return found, tape.gradient(found, [embeddings, proxies])

    return compiled(step, mode)


def _by_autograd(value: Callable, mode: str) -> Callable:
    import torch

    forward = compiled(value, mode)  # which compiles the backward pass, too

    def step(embeddings, proxies, labels):
        embeddings = embeddings.detach().requires_grad_()
        found = forward(embeddings, proxies, labels)
        return found.detach(), torch.autograd.grad(found, [embeddings, proxies])

    return step


def finished(results: Any) -> Any:
    """Returns results once the device has computed them."""
    if BACKEND == "jax":
        import jax

        return jax.block_until_ready(results)
    if BACKEND == "torch":
        import torch

        if _place() == "cuda":
            torch.cuda.synchronize()
        return results
    if is_accelerator():
        import tensorflow as tf

        # Copying a number to the host waits for all work of the device before it. On a CPU, the
        # work is done when a call returns.
        for each in filter(tf.is_tensor, tf.nest.flatten(results)):
            tf.reshape(each, [-1])[0].numpy()
    return results


def torch_device() -> str:
    """The device of PyTorch that is the default device of the backend.

    Raises:
        ImportError: PyTorch is not installed, or cannot use the device.
    """
    import torch

    if not is_accelerator():
        return "cpu"
    if not torch.cuda.is_available():
        raise ImportError("the installed PyTorch cannot use this device")
    return "cuda"


@functools.cache
def _place() -> str:
    """The kind of the default device: "cpu", or another such as "cuda", "gpu", "tpu" or "mps"."""
    if BACKEND == "torch":
        return ops.convert_to_tensor(0.0).device.type
    if BACKEND == "jax":
        import jax

        return jax.default_backend()
    return "gpu" if _tensorflow_gpu() else "cpu"


def _tensorflow_gpu() -> dict:
    import tensorflow as tf

    devices = tf.config.list_physical_devices("GPU")
    return tf.config.experimental.get_device_details(devices[0]) if devices else {}
