"""Functions that several losses share: unit vectors, distances, log-sum-exps and means."""

from keras import ops

from pa_keras.kernels.tensors import Tensor
from pa_keras.losses.references import References


def unit(vectors: Tensor) -> Tensor:
    """Normalizes each row to unit length: v / sqrt(sum(v^2) + 1e-12)."""
    return vectors * ops.rsqrt(ops.sum(ops.square(vectors), axis=-1, keepdims=True) + 1e-12)


def cosines(embeddings: Tensor, references: References | None = None) -> Tensor:
    """Cosines of all rows (B, B) or, with M references, of each row and reference (B, M)."""
    directions = unit(embeddings)
    others = directions if references is None else unit(references.embeddings)
    return ops.matmul(directions, ops.transpose(others))


def distances(embeddings: Tensor, others: Tensor | None = None) -> Tensor:
    """Euclidean distances (B, M) to the rows of `others`, by default of the embeddings themselves.

    The gradient at distance 0 is 0.
    """
    others = embeddings if others is None else others
    squares = ops.sum(ops.square(embeddings), axis=1)
    of_others = ops.sum(ops.square(others), axis=1)
    products = ops.matmul(embeddings, ops.transpose(others))
    squared = ops.maximum(squares[:, None] + of_others[None, :] - 2 * products, 0.0)
    apart = squared > 0
    return ops.where(apart, ops.sqrt(ops.where(apart, squared, 1.0)), 0.0)


def share(terms: Tensor, members: Tensor) -> Tensor:
    """One number for each row, whose mean is the mean of all member terms, or 0 without members."""
    number = ops.maximum(ops.sum(ops.cast(members, "float32")), 1.0)
    of_rows = ops.where(members, terms, 0.0)
    if len(terms.shape) > 1:
        of_rows = ops.sum(of_rows, axis=tuple(range(1, len(terms.shape))))
    return of_rows * ops.cast(ops.shape(terms)[0], "float32") / number


def cross_entropy(logits: Tensor, own: Tensor, target_in_denominator: bool = True) -> Tensor:
    """-log of the softmax of each row at its own class, (B,), by log-sum-exp.

    Args:
        logits: Logits (B, C), float32.
        own: Mask (B, C), bool, true at the class of each row.
        target_in_denominator: Whether the softmax's denominator contains the own class.
    """
    target = ops.sum(ops.where(own, logits, 0.0), axis=1)
    others = logits if target_in_denominator else ops.where(own, -float("inf"), logits)
    return ops.logsumexp(others, axis=1) - target


def log_one_plus_sum_exp(exponents: Tensor, members: Tensor, axis: int) -> Tensor:
    """log(1 + sum of exp(exponents) over the members along an axis); 0 without members.

    The softplus of the log-sum-exp is precise where the sum is far below 1, and finite where the
    sum would overflow.

    Args:
        exponents: Exponents, float32.
        members: Mask of the same shape, bool.
        axis: Axis of the sum.
    """
    occupied = ops.any(members, axis=axis)
    exponents = ops.where(members, exponents, -float("inf"))
    # The shift cancels out of the value, so it must not receive a gradient.
    shift = ops.stop_gradient(ops.where(occupied, ops.max(exponents, axis=axis), 0.0))
    shifted = exponents - ops.expand_dims(shift, axis)
    total = ops.where(occupied, ops.sum(ops.exp(shifted), axis=axis), 1.0)
    return ops.where(occupied, ops.softplus(ops.log(total) + shift), 0.0)
