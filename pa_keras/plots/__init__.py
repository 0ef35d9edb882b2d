"""Pictures of a run, a comparison, the retrievals of a model, and the gradients of a loss."""

from pa_keras.plots.comparisons import convergence, heat_maps, study
from pa_keras.plots.embedding_map import embedding_map, expect_map
from pa_keras.plots.failures import failures
from pa_keras.plots.loss_gradients import pair_weights, proxy_weights, pulls
from pa_keras.plots.neighbours import (
    find_queries,
    found,
    neighbours_figure,
    random_queries,
    retrieved,
)
from pa_keras.plots.pair_curves import pair_curves
from pa_keras.plots.suspects import suspects
from pa_keras.plots.thumbnails import expect_picture
from pa_keras.plots.training_curves import curves

__all__ = [
    "convergence",
    "curves",
    "embedding_map",
    "expect_map",
    "expect_picture",
    "failures",
    "find_queries",
    "found",
    "heat_maps",
    "neighbours_figure",
    "pair_curves",
    "pair_weights",
    "proxy_weights",
    "pulls",
    "random_queries",
    "retrieved",
    "study",
    "suspects",
]
