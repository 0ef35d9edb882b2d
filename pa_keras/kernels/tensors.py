"""The types of annotations, and the log of an empty sum, on every backend."""

from typing import Any, TypeAlias

import numpy.typing as npt

Tensor: TypeAlias = Any
"""A tensor of the backend that is set. Naming its class would import that backend."""

TensorLike: TypeAlias = Tensor | npt.ArrayLike
"""A tensor, or what `keras.ops` converts to one."""

# The smallest float32. It is finite, since -inf minus -inf would be NaN.
NOTHING = -3.4028234663852886e38
