"""Pictures of a run, of a comparison, and of what a loss does."""

from pa_keras.plots.comparisons import convergence, heat_maps, study
from pa_keras.plots.found import found
from pa_keras.plots.pulls import pair_weights, proxy_weights, pulls
from pa_keras.plots.runs import curves, retrieved

__all__ = [
    "convergence",
    "curves",
    "found",
    "heat_maps",
    "pair_weights",
    "proxy_weights",
    "pulls",
    "retrieved",
    "study",
]
