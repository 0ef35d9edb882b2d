"""The names of the losses, and their settings."""

from dataclasses import dataclass
from typing import Literal

LossName = Literal[
    "proxy_anchor",
    "proxy_nca",
    "soft_triple",
    "normalized_softmax",
    "cosface",
    "arcface",
    "sub_center_arcface",
    "contrastive",
    "triplet",
    "n_pair",
    "lifted_structure",
    "multi_similarity",
    "sup_con",
    "circle",
    "smooth_ap",
]


@dataclass
class LossOptions:
    """Settings of the loss. Each loss uses some of them; null: the default of the loss."""

    margin: float | None = None
    """proxy_anchor (delta 0.1), soft_triple (0.01), cosface (0.35), circle (0.4): cosines; arcface,
    sub_center_arcface (0.5): radians; triplet (0.1), lifted_structure (1): distances."""

    alpha: float | None = None
    """proxy_anchor: scale (32); multi_similarity: scale of the positives (2)."""

    beta: float | None = None
    """multi_similarity: scale of the negatives (50)."""

    base: float | None = None
    """multi_similarity: lambda, a cosine (0.5)."""

    epsilon: float | None = None
    """multi_similarity: margin of its mining, a difference of cosines (0.1); 3 keeps every pair."""

    scale: float | None = None
    """proxy_nca: scale of squared distances (32); soft_triple (20), cosface (64), arcface (64),
    sub_center_arcface (64), circle (gamma 80): scale of cosines."""

    target_in_denominator: bool | None = None
    """proxy_nca: include the target proxy in the denominator (false, as in the paper)."""

    temperature: float | None = None
    """normalized_softmax: sigma (0.05); sup_con: tau of the cosines (0.1); smooth_ap: tau of the
    differences of cosines (0.01)."""

    gamma: float | None = None
    """soft_triple: temperature of the weights of the centers of a class (0.1)."""

    centers_per_class: int | None = None
    """K, the number of centers of each class: soft_triple (10), sub_center_arcface (3)."""

    centers_strength: float | None = None
    """soft_triple: tau of the regularizer that merges the centers of a class (0.2)."""

    mining: Literal["semi_hard", "semi_hard_nearest", "hard", "all"] | None = None
    """triplet: which triplets count (semi_hard)."""

    negative_margin: float | None = None
    """contrastive: distance above which a negative costs nothing (0.5)."""

    positive_margin: float | None = None
    """contrastive: distance below which a positive costs nothing (0)."""

    squared: bool | None = None
    """contrastive: square the hinges (false)."""

    average_nonzero: bool | None = None
    """contrastive: average over only the terms above 0 (true)."""

    normalize: bool | None = None
    """lifted_structure: divide embeddings by their lengths (true)."""

    query_in_gallery: bool | None = None
    """smooth_ap: rank each query as a positive of its own, like the authors' code (false)."""

    memory_size: int | None = None
    """contrastive, multi_similarity, sup_con, circle: number of embeddings of earlier batches that
    each batch is also compared with, at least batches.batch_size (0: none)."""

    memory_warm_up_steps: int | None = None
    """contrastive, multi_similarity, sup_con, circle: number of steps before the memory is used
    (1000)."""
