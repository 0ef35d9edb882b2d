"""Whether XLA compiles the current trace, which only a private name of TensorFlow tells."""

import tensorflow as tf

from pa_keras.compat.fallback import log_fallback


def is_compiled_by_xla() -> bool:
    """Whether XLA compiles the function that is being traced.

    Some operations that save memory on a CPU have no implementation in XLA. If the installed
    TensorFlow lacks the private name, the answer is True, so that callers use operations of XLA.

    Example:
        >>> is_compiled_by_xla()
        False
    """
    context = getattr(tf.__internal__, "get_enclosing_xla_context", None)
    if context is None:
        log_fallback(
            "tf.__internal__.get_enclosing_xla_context",
            "Losses with proxies use operations that XLA supports, which need more memory.",
        )
        return True
    return context() is not None
