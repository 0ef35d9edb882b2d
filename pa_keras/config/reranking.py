"""Settings of re-ranking and query expansion, shared by evaluate and `search query`."""

from dataclasses import dataclass


@dataclass
class Reranking:
    """How neighbours are improved by the other images, without labels."""

    rerank: bool = False
    """Re-rank the neighbours by k-reciprocal encoding (Zhong et al., 2017). evaluate reports the
    metrics beside those of the plain search."""

    rerank_k1: int = 20
    """k1: neighbours in a neighbourhood, fewer than there are images."""

    rerank_k2: int = 6
    """k2: neighbourhoods that are averaged, 1 to k1; 1 averages none."""

    rerank_weight: float = 0.3
    """lambda: weight of the cosine distance beside the Jaccard distance, 0 to 1."""

    query_expansion: int = 0
    """Search again with the mean of each query and so many of its neighbours; 0: do not. evaluate
    reports the metrics beside those of the plain search."""

    query_expansion_alpha: float = 3.0
    """Power of the cosines that weight the neighbours of query expansion; 0: equal weights."""
