"""The log line for a private name that the installed release lacks."""

import functools
import logging

logger = logging.getLogger(__name__)


@functools.cache
def log_fallback(missing: str, consequence: str) -> None:
    """Warns, once in a process, that the installed release lacks a private name.

    Args:
        missing: Private name, such as "keras.src.models.functional.operation_fn".
        consequence: Sentence that says what runs instead, and what that costs.

    Example:
        >>> log_fallback("keras.src.a.b", "The model is called as it is.")
    """
    logger.warning("The installed Keras or TensorFlow has no %s. %s", missing, consequence)
