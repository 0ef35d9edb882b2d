"""Checks integer arguments, of Python or of NumPy."""

import operator
from typing import SupportsIndex


def as_integer(name: str, value: SupportsIndex, least: int | None = None) -> int:
    """Returns an argument as a plain `int`, which a model can be saved with.

    Args:
        name: Name of the argument, for the message.
        value: The integer, such as 16 or `np.int64(16)`.
        least: Smallest allowed value. Default None: no limit.

    Raises:
        ValueError: If it is not an integer, or is too small.

    Example:
        >>> import numpy as np
        >>> as_integer("num_classes", np.int64(16), least=2)
        16
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or (least is not None and number < least):
        wanted = "as an integer" if least is None else f"of {least} or more"
        raise ValueError(f"Expected {name} {wanted}; received {value!r}.")
    return number
