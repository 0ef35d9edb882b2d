"""The losses by their names, and their settings."""

from dataclasses import dataclass
from typing import Literal

LossName = Literal[
    "proxy_anchor",
    "proxy_nca",
    "soft_triple",
    "normalized_softmax",
    "cosface",
    "arcface",
    "contrastive",
    "triplet",
    "n_pair",
    "lifted_structure",
    "multi_similarity",
]


@dataclass
class LossOptions:
    """Settings of the loss; each loss has some of them. null: the loss's own default."""

    margin: float | None = None
    """proxy_anchor (delta 0.1), soft_triple (0.01), cosface (0.35): cosines; arcface (0.5):
    radians; triplet (0.1), lifted_structure (1): distances."""

    alpha: float | None = None
    """proxy_anchor: scale (32); multi_similarity: scale of the positives (2)."""

    beta: float | None = None
    """multi_similarity: scale of the negatives (50)."""

    base: float | None = None
    """multi_similarity: lambda, a cosine (0.5)."""

    epsilon: float | None = None
    """multi_similarity: of its mining, a difference of cosines (0.1); 3 keeps every pair."""

    scale: float | None = None
    """proxy_nca: of squared distances (32); soft_triple (20), cosface (64), arcface (64)."""

    target_in_denominator: bool | None = None
    """proxy_nca: whether the target proxy is in the denominator (false, as in the paper)."""

    temperature: float | None = None
    """normalized_softmax: sigma (0.05)."""

    gamma: float | None = None
    """soft_triple: temperature among the centers of a class (0.1)."""

    centers_per_class: int | None = None
    """soft_triple: K (10)."""

    centers_strength: float | None = None
    """soft_triple: tau of the regularizer that merges the centers of a class (0.2)."""

    mining: Literal["semi_hard", "semi_hard_nearest", "hard", "all"] | None = None
    """triplet: which triplets (semi_hard)."""

    negative_margin: float | None = None
    """contrastive: distance beyond which a negative costs nothing (0.5)."""

    positive_margin: float | None = None
    """contrastive: distance below which a positive costs nothing (0)."""

    squared: bool | None = None
    """contrastive: whether the hinges are squared (false)."""

    average_nonzero: bool | None = None
    """contrastive: whether the means are over the terms above 0 alone (true)."""

    normalize: bool | None = None
    """lifted_structure: whether embeddings are divided by their lengths (true)."""
