"""What the losses and `Proxies` compute differently on each backend of Keras.

`tensorflow.py` holds fused kernels with explicit gradients and the collectives of `tf.distribute`.
Every other backend uses `portable.py`, which needs `keras.ops` alone; on torch, `torch.py` replaces
two of its functions. All have the same functions; `portable.py` documents them.
"""

import keras

if keras.backend.backend() == "tensorflow":
    from pa_keras.kernels.tensorflow import (
        as_labels,
        class_log_sums,
        cosines,
        expect,
        gathered,
        integer_dtype,
        largest,
        weighted,
    )
else:
    from pa_keras.kernels.portable import (
        as_labels,
        class_log_sums,
        cosines,
        expect,
        gathered,
        integer_dtype,
        largest,
        weighted,
    )

    if keras.backend.backend() == "torch":
        from pa_keras.kernels.torch import class_log_sums, cosines

__all__ = [
    "as_labels",
    "class_log_sums",
    "cosines",
    "expect",
    "gathered",
    "integer_dtype",
    "largest",
    "weighted",
]
