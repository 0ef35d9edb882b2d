"""Whether XLA compiles what is traced now, which TensorFlow tells only by a private name."""

import tensorflow as tf

from pa_keras.compat.fallback import log_fallback


def is_compiled_by_xla() -> bool:
    """Whether XLA compiles the function that is being traced.

    Some operations that save memory on a CPU have no implementation in XLA. Where the installed
    TensorFlow does not tell, the answer is True, so that the operations that XLA knows are used.

    Example:
        >>> is_compiled_by_xla()
        False
    """
    context = getattr(tf.__internal__, "get_enclosing_xla_context", None)
    if context is None:
        log_fallback(
            "tf.__internal__.get_enclosing_xla_context",
            "Losses with proxies use the operations that XLA knows, which need more memory.",
        )
        return True
    return context() is not None
