"""Pictures of a run, a comparison, the retrievals of a model, and the gradients of a loss."""

from pa_keras.plots.comparisons import convergence, heat_maps, study
from pa_keras.plots.embedding_map import embedding_map, expect_map
from pa_keras.plots.failures import failures
from pa_keras.plots.loss_gradients import draw_loss_gradients, pair_weights, proxy_weights
from pa_keras.plots.neighbours import (
    find_queries,
    neighbours_figure,
    random_queries,
    retrieved,
    search_results,
)
from pa_keras.plots.pair_curves import pair_curves
from pa_keras.plots.suspects import suspects
from pa_keras.plots.thumbnails import expect_picture
from pa_keras.plots.training_curves import curves

__all__ = [
    "convergence",
    "curves",
    "draw_loss_gradients",
    "embedding_map",
    "expect_map",
    "expect_picture",
    "failures",
    "find_queries",
    "heat_maps",
    "neighbours_figure",
    "pair_curves",
    "pair_weights",
    "proxy_weights",
    "random_queries",
    "retrieved",
    "search_results",
    "study",
    "suspects",
]
