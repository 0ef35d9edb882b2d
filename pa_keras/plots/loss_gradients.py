"""Shows by its gradient which pairs of embeddings a loss attracts or repels, and how strongly."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pa_keras.plots.thumbnails import save_picture

# A loss of (labels, similarities or embeddings): a function or an object of `pa_keras.losses`.
Loss = Callable[[np.ndarray, tf.Tensor], tf.Tensor]

# An additional coordinate of each embedding, small enough to hardly change its direction. Its
# gradients show which embeddings contribute.
_LIFT = 0.02

# Panels side by side.
_COLUMNS = 4


def pair_weights(loss: Loss, labels: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
    """Returns how strongly a pair loss pulls each embedding towards each other one: float (B, B).

        w_ij = -dL/ds_ij,   so that  -dL/dx_i = sum_j (w_ij + w_ji) x_j  along the sphere

    The weights are symmetric, positive for attraction and negative for repulsion. They are computed
    from the gradient for embeddings that each have a small additional coordinate.

    Args:
        loss: Loss of class IDs and embeddings.
        labels: Class IDs, integers (B,).
        embeddings: Embeddings, floating (B, D).

    Example:
        >>> from pa_keras.losses import n_pair
        >>> weights = pair_weights(n_pair, [0, 0, 1, 1], [[1.0, 0.0]] * 2 + [[0.0, 1.0]] * 2)
        >>> bool(weights[0, 1] > 0 > weights[0, 3])
        True
    """
    vectors = np.asarray(embeddings, "float32")
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    lifted = np.concatenate([vectors, _LIFT * np.eye(len(vectors), dtype="float32")], axis=1)
    lifted /= np.linalg.norm(lifted, axis=1, keepdims=True)
    x = tf.constant(lifted)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = tf.reduce_mean(loss(np.asarray(labels), x))
    own = tape.gradient(value, x).numpy()[:, vectors.shape[1] :]
    weights = -own / lifted[0, -len(vectors) :].max()
    np.fill_diagonal(weights, 0.0)
    return weights


def proxy_weights(loss: Loss, labels: np.ndarray, cosines: np.ndarray) -> np.ndarray:
    """Returns how strongly a proxy loss pulls each embedding towards each proxy: -dL/ds.

    Args:
        loss: Loss of class IDs and cosines.
        labels: Class IDs, integers (B,).
        cosines: Cosines s, floating (B, C) or (B, C, K). The result has the same shape.

    Example:
        >>> from pa_keras.losses import proxy_anchor
        >>> weights = proxy_weights(proxy_anchor, [0, 1], [[0.9, 0.1], [0.2, 0.8]])
        >>> bool(weights[0, 0] > 0 > weights[0, 1])
        True
    """
    s = tf.constant(cosines, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(s)
        value = tf.reduce_mean(loss(np.asarray(labels), s))
    return -tape.gradient(value, s).numpy()


def draw_loss_gradients(
    of_proxies: Mapping[str, Loss],
    of_centers: Mapping[str, Loss],
    of_pairs: Mapping[str, Loss],
    path: Path,
) -> None:
    """Draws which pairs each loss attracts (green) and repels (red) in a batch on a circle.

    The width of a line is the weight of its pair in the gradient, relative to the largest in the
    panel. Dots are embeddings, stars are proxies, and each class has a colour.

    Args:
        of_proxies: Losses of cosines (B, C), by the titles of their panels.
        of_centers: Losses of cosines (B, C, K), by title; K is 2 here.
        of_pairs: Losses of embeddings, by title.
        path: Path of the picture; its suffix selects the format.

    Source: Kim et al., Proxy Anchor Loss for Deep Metric Learning, CVPR 2020, figure 1.
    """
    labels, embeddings, proxies = _batch()
    stars = _doubled(proxies)
    panels: list[tuple[str, np.ndarray | None, np.ndarray]] = []
    for title, loss in of_proxies.items():
        weights = proxy_weights(loss, labels, embeddings @ proxies.T)
        panels.append((title, proxies, weights))
    for title, loss in of_centers.items():
        cosines = (embeddings @ stars.T).reshape(len(labels), len(proxies), 2)
        weights = proxy_weights(loss, labels, cosines).reshape(len(labels), -1)
        panels.append((title, stars, weights))
    for title, loss in of_pairs.items():
        panels.append((title, None, np.triu(pair_weights(loss, labels, embeddings))))
    rows = -(-len(panels) // _COLUMNS)
    figure = Figure(figsize=(3.2 * _COLUMNS, 3.3 * rows), layout="constrained")
    places = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for axes in places:
        axes.set_axis_off()
    for axes, (title, others, weights) in zip(places, panels, strict=False):
        axes.set_title(title)
        _panel(axes, labels, embeddings, others, weights)
    save_picture(figure, path, dpi=100)


def _batch() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns labels, unit vectors and proxies of three classes on a circle; two overlap."""
    labels = np.repeat([0, 1, 2], 4)
    degrees = np.array([8, 75, 105, 165, 98, 130, 178, 243, 275, 290, 318, 352])
    return labels, _on_circle(degrees), _on_circle(np.array([90, 150, 305]))


def _on_circle(degrees: np.ndarray) -> np.ndarray:
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype("float32")


def _doubled(proxies: np.ndarray) -> np.ndarray:
    """Returns two centers for each proxy, 20 degrees to either side: (2 C, 2)."""
    degrees = np.rad2deg(np.arctan2(proxies[:, 1], proxies[:, 0]))
    return _on_circle((degrees[:, None] + [-20, 20]).ravel())


def _panel(
    axes: Axes,
    labels: np.ndarray,
    embeddings: np.ndarray,
    proxies: np.ndarray | None,
    weights: np.ndarray,
) -> None:
    others = embeddings if proxies is None else 1.18 * proxies
    greatest = np.abs(weights).max() or 1.0
    for (i, j), weight in np.ndenumerate(weights):
        if abs(weight) > 0.005 * greatest:
            ends = np.stack([embeddings[i], others[j]])
            axes.plot(*ends.T, color="tab:green" if weight > 0 else "tab:red", zorder=1,
                      linewidth=0.3 + 4 * abs(weight) / greatest, alpha=0.7)  # fmt: skip
    colours = np.array(["tab:blue", "tab:orange", "tab:purple"])
    axes.scatter(*embeddings.T, c=colours[labels], s=45, zorder=2)
    if proxies is not None:
        of_stars = np.repeat(colours, len(proxies) // len(colours))
        axes.scatter(*others.T, c=of_stars, s=130, marker="*", zorder=2)
    axes.set(aspect="equal", xlim=(-1.35, 1.35), ylim=(-1.35, 1.35))
