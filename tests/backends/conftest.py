"""Two host devices on JAX, for the test of several devices; JAX reads this at its first use."""

import os

import keras

if keras.backend.backend() == "jax":
    os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
