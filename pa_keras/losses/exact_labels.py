"""A `__call__` for losses that passes the labels on without a cast.

`keras.losses.Loss` casts labels to the dtype of the loss. float32 cannot represent every integer
above 2**24, so that the cast could merge classes.
"""

import keras

from pa_keras.kernels.tensors import Tensor, TensorLike
from pa_keras.losses.references import References


class _Reduction(keras.losses.Loss):
    """Applies the weights, masks and reduction of Keras to terms that are computed already."""

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return y_true


def call_with_exact_labels(
    loss: keras.losses.Loss,
    y_true: TensorLike,
    y_pred: TensorLike,
    sample_weight: TensorLike | None = None,
    references: References | None = None,
) -> Tensor:
    """`keras.losses.Loss.__call__` without the cast of the labels; for use as a `__call__`.

    Some pair losses take `references`, to compare the batch with these instead of with itself.
    """
    given = () if references is None else (references,)
    with keras.name_scope(loss.name):
        cast = keras.ops.convert_to_tensor(y_pred, dtype=loss.dtype)
        terms = loss.call(y_true, cast, *given)
    return _Reduction(loss.name, loss.reduction, loss.dtype)(terms, y_pred, sample_weight)
