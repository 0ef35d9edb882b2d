"""Compares the weights in figure 1 with formulas, and tests the picture."""

import numpy as np
import pytest
from PIL import Image

from pa_keras import losses
from pa_keras.plots import __main__ as command
from pa_keras.plots import pair_weights, proxy_weights

LABELS = np.array([0, 0, 1, 1, 2])


def embeddings(seed=0):
    x = np.random.default_rng(seed).normal(size=(5, 3)).astype("float32")
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_weights_of_multi_similarity_are_the_papers():
    """Wang et al., eq. (16) and (17): the weight of a pair is a softmax with a 1 in the sum."""
    alpha, beta, base = 2.0, 5.0, 0.5
    s = embeddings() @ embeddings().T
    same = LABELS[:, None] == LABELS
    np.fill_diagonal(same, False)
    pull, push = np.exp(-alpha * (s - base)) * same, np.exp(beta * (s - base))
    push *= LABELS[:, None] != LABELS
    w = pull / (1 + pull.sum(1, keepdims=True)) - push / (1 + push.sum(1, keepdims=True))
    loss = losses.MultiSimilarityLoss(alpha, beta, base, epsilon=None)
    found = pair_weights(loss, LABELS, embeddings())
    np.testing.assert_allclose(found, (w + w.T) / 5, atol=2e-3)


def test_weights_of_contrastive_are_equal_within_a_kind():
    """With the Euclidean distance d of a pair, the weight of its cosine is 1 / d."""
    x = embeddings()
    distance = np.linalg.norm(x[:, None] - x, axis=2)
    found = pair_weights(losses.ContrastiveLoss(negative_margin=2.0), LABELS, x)
    positive = [(0, 1), (2, 3)]
    negative = [(i, j) for i in range(5) for j in range(i) if LABELS[i] != LABELS[j]]
    for pairs, sign in ((positive, 1), (negative, -1)):
        times = [sign * found[i, j] * distance[i, j] for i, j in pairs]
        np.testing.assert_allclose(times, times[0], rtol=5e-3)
        assert times[0] > 0


def test_weights_of_proxy_anchor_are_the_papers():
    """Kim et al., eq. (5)."""
    s = np.random.default_rng(1).uniform(-1, 1, (5, 3))
    own = LABELS[:, None] == np.arange(3)
    pull, push = np.exp(-8 * (s - 0.1)) * own, np.exp(8 * (s + 0.1)) * ~own
    w = 8 / 3 * (pull / (1 + pull.sum(0)) - push / (1 + push.sum(0)))
    found = proxy_weights(losses.ProxyAnchorLoss(alpha=8.0), LABELS, s)
    np.testing.assert_allclose(found, w, rtol=1e-4, atol=1e-6)


def test_the_picture_has_a_panel_for_each_loss(tmp_path, capsys):
    path = tmp_path / "losses.png"
    command.main(["losses", "--out", str(path)])
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    height, width = pixels.shape[0] / 3, pixels.shape[1] / 4
    for row in range(3):
        for column in range(4):
            panel = pixels[int(row * height) : int((row + 1) * height),
                           int(column * width) : int((column + 1) * width)]  # fmt: skip
            red, green, blue = np.moveaxis(panel, -1, 0)
            assert ((green > red + 40) & (green > blue + 40)).any(), (row, column)
            assert ((red > green + 80) & (red > blue + 80)).any(), (row, column)
    assert str(path) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("there.png", "exists already"),
        ("a.xyz", "Expected a picture's name"),
        ("nowhere/a.png", "Expected an existing folder"),
    ],
)
def test_where_no_picture_can_be_written(tmp_path, name, message):
    (tmp_path / "there.png").touch()
    with pytest.raises(SystemExit, match=message):
        command.main(["losses", "--out", str(tmp_path / name)])
