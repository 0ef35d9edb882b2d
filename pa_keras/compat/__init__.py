"""Differences between releases of Keras and TensorFlow."""

from pa_keras.compat.fallback import log_fallback
from pa_keras.compat.xla import is_compiled_by_xla

__all__ = ["is_compiled_by_xla", "log_fallback"]
