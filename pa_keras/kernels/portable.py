"""The kernels in `keras.ops`, with automatic differentiation: for JAX and torch.

With `keras.distribution.DataParallel`, JAX computes on the global batch, so that the functions for
several replicas of TensorFlow have nothing to do here.
"""

import keras
import numpy as np
from keras import ops

from pa_keras.kernels.tensors import NOTHING, Tensor, TensorLike


def cosines(embeddings: Tensor, proxies: Tensor) -> Tensor:
    """Cosines of embeddings to proxies, each of length l as if it were sqrt(l^2 + 1e-12).

    It divides the products by the lengths, so that no normalized copy of the proxies is needed.

    Args:
        embeddings: Embeddings (B, D), float32.
        proxies: Proxies (C, D), float32.

    Returns:
        float32 (B, C).

    Example:
        >>> tuple(cosines(ops.ones((4, 512)), ops.ones((98, 512))).shape)
        (4, 98)
    """
    unit = embeddings * _inverse_lengths(embeddings)[:, None]
    return ops.matmul(unit, ops.transpose(proxies)) * _inverse_lengths(proxies)


def class_log_sums(labels: Tensor, similarities: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    r"""Logs of each proxy's sums over the rows of its class and over all other rows.

        positive_c = log sum_{i: y_i = c} exp(-alpha s_ic)
        negative_c = log sum_{i: y_i != c} exp(alpha s_ic)

    Args:
        labels: Class IDs (B,) in [0, C), integers.
        similarities: Cosines (B, C), float32.
        alpha: Scale, > 0.

    Returns:
        The positive and the negative logs over the global batch, float32 (C,) each; about `NOTHING`
        for an empty sum.
    """
    num_classes = similarities.shape[1]
    # Each row has one positive entry, so B numbers are gathered instead of a mask of B x C.
    pull = -alpha * ops.take_along_axis(similarities, labels[:, None], axis=1)[:, 0]
    shift = ops.stop_gradient(ops.segment_max(pull, labels, num_classes))
    present = shift > NOTHING / 2
    pulls = ops.exp(pull - ops.take(shift, labels))
    sums = ops.where(present, ops.segment_sum(pulls, labels, num_classes), 1.0)
    positive = ops.where(present, ops.log(sums) + shift, NOTHING)
    own = labels[:, None] == ops.arange(num_classes, dtype=labels.dtype)[None, :]
    negative = ops.logsumexp(ops.where(own, NOTHING, alpha * similarities), axis=0)
    return positive, negative


def as_labels(labels: TensorLike) -> Tensor:
    """Labels as a tensor of the same values.

    JAX has no 64-bit numbers by default, and would cut off the upper half of a larger class ID.

    Args:
        labels: Class IDs or one-hot rows, of any shape and numeric dtype.

    Raises:
        ValueError: If NumPy labels or a list hold names, or values that the backend cannot hold.

    Example:
        >>> tuple(as_labels(np.array([3, 5])).shape)
        (2,)
    """
    if ops.is_tensor(labels) or isinstance(labels, keras.Variable):
        return ops.convert_to_tensor(labels)
    given = np.asarray(labels)
    if given.dtype.kind in "OSTU":
        raise ValueError(
            f"Expected labels as integer class IDs; received string of shape {given.shape}. Class "
            "IDs of class names are np.unique(names, return_inverse=True)[1]."
        )
    tensor = ops.convert_to_tensor(given)
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    if dtype != given.dtype.name and not np.array_equal(given.astype(dtype), given, equal_nan=True):
        raise ValueError(
            f"Expected class IDs as integers that {dtype} can hold, as JAX has no {given.dtype} "
            f"unless jax_enable_x64 is set; received labels {given}. Number the classes by "
            "np.unique(labels, return_inverse=True)[1]."
        )
    return tensor


def expect(valid: Tensor, problem: str, tensor: Tensor, shown: Tensor) -> tuple[Tensor, Tensor]:
    """The tensor and `valid`, both behind a check that `valid` is true.

    Compiled code cannot raise an error, so the caller must use `valid` to make the loss NaN.

    Args:
        valid: What must be true, a scalar bool.
        problem: First part of the message, which ends with the numbers received.
        tensor: What the caller uses only if `valid` is true.
        shown: The numbers to show.

    Raises:
        ValueError: If `valid` is false, in eager mode.
        tf.errors.InvalidArgumentError: If `valid` is false, in graph mode of TensorFlow.
    """
    if not _is_traced(valid) and not bool(valid):
        raise ValueError(f"{problem} {ops.convert_to_numpy(shown)}.")
    return tensor, valid


def gathered(part: Tensor) -> Tensor:
    """Concatenates the shards (n, ...) of all replicas; n may differ. It is differentiable."""
    return part


def weighted(terms: Tensor) -> Tensor:
    """Scales terms (n,) so that the mean of the replicas' means is that of the global batch."""
    return terms


def largest(counts: Tensor, limit: int | Tensor) -> int | Tensor:
    """The largest of some counts, for use as a dimension, or `limit` where shapes are constants.

    Args:
        counts: Integers (B,).
        limit: The most that a count can be.
    """
    return limit if _is_traced(counts) else int(ops.max(counts))


def integer_dtype() -> str:
    """The widest integer dtype of the backend: "int64", or "int32" on JAX by default.

    Example:
        >>> integer_dtype()
        'int64'
    """
    return keras.backend.standardize_dtype(ops.convert_to_tensor(np.zeros(0, np.int64)).dtype)


def _inverse_lengths(vectors: Tensor) -> Tensor:
    return ops.rsqrt(ops.sum(ops.square(vectors), axis=1) + 1e-12)


def _is_traced(tensor: Tensor) -> bool:
    """Whether values are unknown: under `jit` of JAX, or where Keras asks torch for shapes."""
    if keras.backend.backend() == "jax":
        import jax

        return isinstance(tensor, jax.core.Tracer)
    return bool(getattr(tensor, "is_meta", False))
