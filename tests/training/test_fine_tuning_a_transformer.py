"""Layer decay, frozen blocks and averaged weights, together on a vision transformer."""

import keras
import numpy as np
import pytest

from pa_keras.losses import ProxyAnchorLoss
from pa_keras.models import backbone_blocks, embedding_model, set_trainable, with_proxies
from pa_keras.training import layer_decay_factors, two_rate_adamw
from pa_keras.training.callbacks.averaged_weights import AveragedWeights
from pa_keras.training.training_model import TrainingModel

keras_hub = pytest.importorskip("keras_hub", reason='needs pip install "pa_keras[hub]"')

RATE, DECAY, MOMENTUM = 1e-3, 0.5, 0.9


@pytest.fixture
def preset(tmp_path):
    keras.utils.set_random_seed(0)
    network = keras_hub.models.ViTBackbone(
        (32, 32, 3), patch_size=16, num_layers=3, num_heads=2, hidden_dim=8, mlp_dim=16
    )
    folder = str(tmp_path / "vit")
    network.save_to_preset(folder)
    keras_hub.layers.ImageConverter(scale=1 / 255).save_to_preset(folder)
    return f"keras_hub/{folder}"


def test_one_step_of_each(preset):
    embedder, copy = (embedding_model(preset, 4, (32, 32), weights=None) for _ in range(2))
    model = with_proxies(embedder, 3)
    model = TrainingModel(model.input, model.output)
    blocks = backbone_blocks(embedder)
    assert len(blocks) == 4  # patches and three layers
    set_trainable(model, True, "frozen", frozen_blocks=2)
    factors = layer_decay_factors(model, DECAY)
    model.compile(
        two_rate_adamw(model, RATE, RATE, 0.0, None, factors, MOMENTUM),
        ProxyAnchorLoss(num_classes=3),
        jit_compile=False,
    )
    before = [[w.numpy() for layer in block for w in layer.weights] for block in blocks]
    head = embedder.get_layer("embedding").kernel.numpy()
    pixels = np.random.default_rng(0).uniform(0, 255, (6, 32, 32, 3)).astype("float32")
    model.fit(pixels, np.arange(6) % 3, batch_size=6, verbose=0,
              callbacks=[AveragedWeights(embedder, copy)])  # fmt: skip

    def largest_step(old, new):
        # The first step of Adam is the rate, where the gradient is far above epsilon.
        pairs = zip(old, new, strict=True)
        return max(float(np.abs(a - np.asarray(b)).max()) for a, b in pairs)

    steps = [
        largest_step(old, [w.numpy() for layer in block for w in layer.weights])
        for old, block in zip(before, blocks, strict=True)
    ]
    assert steps[:2] == [0, 0]
    assert steps[2:] == pytest.approx([RATE * DECAY**2, RATE * DECAY], rel=1e-2)
    assert largest_step([head], [embedder.get_layer("embedding").kernel]) == pytest.approx(
        RATE, rel=1e-2
    )
    # The first average is the weight itself.
    for a, b in zip(embedder.get_weights(), copy.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
