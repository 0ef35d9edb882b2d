"""What the losses and `Proxies` compute differently on each backend of Keras.

`tensorflow.py` holds fused kernels with explicit gradients and the collectives of `tf.distribute`.
Every other backend uses `portable.py`, which needs `keras.ops` alone. Both have the same functions;
`portable.py` documents them.
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
