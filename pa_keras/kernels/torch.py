"""The two kernels of `portable.py` that take time, in torch.

torch runs eagerly, so that small batches would spend more time in `keras.ops` than in arithmetic.
`portable.py` documents the functions. Only the torch backend may import this file.
"""

import torch

from pa_keras.kernels.tensors import NOTHING


def cosines(embeddings: torch.Tensor, proxies: torch.Tensor) -> torch.Tensor:
    """Cosines (B, C) without a normalized copy of the proxies: it divides the product instead."""
    unit = embeddings * _inverse_lengths(embeddings)[:, None]
    return torch.mm(unit, proxies.T) * _inverse_lengths(proxies)


def class_log_sums(
    labels: torch.Tensor, similarities: torch.Tensor, alpha: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logs of each proxy's sums over the rows of its class and over all other rows."""
    num_classes, own = similarities.shape[1], labels[:, None]
    # Each row has one positive entry, so B numbers are gathered, without a mask of B x C.
    pull = -alpha * similarities.gather(1, own)[:, 0]
    shift = similarities.new_full((num_classes,), NOTHING)
    shift = shift.scatter_reduce(0, labels, pull.detach(), "amax")
    pulls = torch.exp(pull - shift[labels])
    sums = similarities.new_zeros(num_classes).index_add(0, labels, pulls)
    # The sum of a class with rows is at least exp(0) = 1, up to rounding.
    present = sums > 0.5
    positive = torch.where(present, torch.log(torch.where(present, sums, 1.0)) + shift, NOTHING)
    negative = torch.logsumexp((alpha * similarities).scatter_(1, own, NOTHING), dim=0)
    return positive, negative


def _inverse_lengths(vectors: torch.Tensor) -> torch.Tensor:
    return torch.rsqrt(torch.linalg.vector_norm(vectors, dim=1).square() + 1e-12)
