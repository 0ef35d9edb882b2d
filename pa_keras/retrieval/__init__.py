"""Search for the nearest embeddings, and retrieval metrics."""

from pa_keras.retrieval.bootstrap import bootstrap_interval
from pa_keras.retrieval.centroids import nearest_centroid
from pa_keras.retrieval.clustering import clustering_metrics
from pa_keras.retrieval.compression import Compressed, compression_table
from pa_keras.retrieval.error_rates import PairRates, pair_rates
from pa_keras.retrieval.identification import OpenSet, open_set
from pa_keras.retrieval.k_reciprocal import KReciprocal, rerank
from pa_keras.retrieval.metrics import (
    first_hit_rank,
    mean_average_precision_at_r,
    per_class_metrics,
    per_query_metrics,
    precision_at_k,
    r_precision,
    recall_at_k,
    retrieval_metrics,
)
from pa_keras.retrieval.pair_counts import Pairs, as_pairs
from pa_keras.retrieval.query_expansion import QueryExpansion, expand_queries, search_expanded
from pa_keras.retrieval.relevance import matches, num_relevant
from pa_keras.retrieval.search import Neighbours, nearest_neighbours, search
from pa_keras.retrieval.suspects import Suspect, Suspects, find_suspects

__all__ = [
    "Compressed",
    "KReciprocal",
    "Neighbours",
    "OpenSet",
    "PairRates",
    "Pairs",
    "QueryExpansion",
    "as_pairs",
    "Suspect",
    "Suspects",
    "bootstrap_interval",
    "clustering_metrics",
    "compression_table",
    "expand_queries",
    "find_suspects",
    "first_hit_rank",
    "matches",
    "mean_average_precision_at_r",
    "nearest_centroid",
    "nearest_neighbours",
    "num_relevant",
    "open_set",
    "pair_rates",
    "per_class_metrics",
    "per_query_metrics",
    "precision_at_k",
    "r_precision",
    "recall_at_k",
    "rerank",
    "retrieval_metrics",
    "search",
    "search_expanded",
]
