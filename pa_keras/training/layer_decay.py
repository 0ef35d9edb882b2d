"""Layer-wise learning-rate decay: the deeper a block of the backbone, the higher its rate."""

import keras

from pa_keras.models import backbone_blocks


def layer_decay_factors(model: keras.Model, layer_decay: float) -> dict[str, float]:
    """Factors on the learning rate of each weight of the backbone.

        factor of block i = layer_decay^(n - i),   i = 0 .. n - 1

    The embedding layer, which would be block n, and the proxies keep their rates. A pretrained
    backbone needs this most where it is large: its first blocks are general, and its last ones
    change most.

    Args:
        model: Model to train with an `embedding_model` inside, such as one from `with_proxies`.
        layer_decay: Ratio of the rates of two successive blocks, in (0, 1]; 1 leaves all rates
            equal.

    Returns:
        Mapping from the path of a weight to its factor, for `AdamW`. Empty if layer_decay is 1.

    Raises:
        ValueError: layer_decay is out of its range.

    Example:
        >>> from pa_keras.models import embedding_model, with_proxies
        >>> model = with_proxies(embedding_model("conv4", 64, (32, 32), weights=None), 98)
        >>> factors = layer_decay_factors(model, 0.5)
        >>> [factors[f"conv{block}/kernel"] for block in (1, 2, 3, 4)]
        [0.0625, 0.125, 0.25, 0.5]

    Source: Clark et al., ELECTRA, ICLR 2020; for images: Bao et al., BEiT: BERT Pre-Training of
    Image Transformers, ICLR 2022.
    """
    if not 0 < layer_decay <= 1:
        raise ValueError(f"Expected layer_decay in (0, 1]; received {layer_decay}.")
    if layer_decay == 1:
        return {}
    blocks = backbone_blocks(model.get_layer("embedding_model"))
    return {
        weight.path: layer_decay ** (len(blocks) - place)
        for place, block in enumerate(blocks)
        for layer in block
        for weight in layer.weights
    }
