"""Differences between releases of Keras and TensorFlow."""

from pa_keras.compat.fallback import log_fallback

__all__ = ["log_fallback"]
