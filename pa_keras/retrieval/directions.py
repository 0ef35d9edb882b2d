"""Directions of sums of embeddings."""

import numpy as np

# Sums of unit vectors that are shorter than this are rounding errors and have no direction.
_SHORTEST = 1e-6


def directions(sums: np.ndarray) -> np.ndarray:
    """Divides each row by its length; a row that is too short to have a direction becomes 0.

    Args:
        sums: Sums of unit vectors, float64 (N, D).

    Returns:
        float64 (N, D).

    Example:
        >>> directions(np.array([[3.0, 4.0], [0.0, 1e-9]]))
        array([[0.6, 0.8],
               [0. , 0. ]])
    """
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.where(lengths > _SHORTEST, sums / np.maximum(lengths, _SHORTEST), 0)
