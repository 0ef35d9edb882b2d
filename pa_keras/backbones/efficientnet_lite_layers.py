"""The layers of EfficientNet-Lite, with the names and initial weights that keras_cv gives them."""

import math

from keras import KerasTensor, initializers, layers

# The stages: kernel size, repetitions, filters, expansion and stride.
_STAGES = (
    (3, 1, 16, 1, 1),
    (3, 2, 24, 6, 2),
    (5, 2, 40, 6, 2),
    (3, 3, 80, 6, 2),
    (5, 3, 112, 6, 1),
    (5, 4, 192, 6, 2),
    (3, 1, 320, 6, 1),
)
_DROPOUT = 0.2  # the rate of the last block; that of the first is 0


def features(x: KerasTensor, width: float, depth: float) -> KerasTensor:
    """Applies the network to scaled images (B, H, W, 3); the result is (B, H / 32, W / 32, 1280).

    Args:
        x: Scaled images, of a known size.
        width: Factor of the number of filters.
        depth: Factor of the number of blocks in each stage but the first and the last.
    """
    x = _convolved(x, "stem_", 32, 3, stride=2)
    number, total = 0, sum(repeats for _, repeats, *_ in _STAGES)
    for stage, (size, repeats, filters, expansion, stride) in enumerate(_STAGES, 1):
        if 1 < stage < len(_STAGES):
            repeats = math.ceil(depth * repeats)
        for block in range(repeats):
            name = f"block{stage}{chr(ord('a') + block)}_"
            dropout = _DROPOUT * number / total
            x = _block(
                x, name, _rounded(width * filters), size, expansion, 1 if block else stride, dropout
            )
            number += 1
    return _convolved(x, "top_", 1280, 1)


def _block(
    x: KerasTensor,
    name: str,
    filters: int,
    size: int,
    expansion: int,
    stride: int,
    dropout: float,
) -> KerasTensor:
    """An inverted residual block: expansion, depthwise convolution and projection."""
    inputs, channels = x, x.shape[-1]
    if expansion != 1:
        x = _convolved(x, f"{name}expand_", channels * expansion, 1)
    x = _depthwise(x, name, size, stride)
    x = _convolution(x, f"{name}project_conv", filters, 1)
    x = layers.BatchNormalization(name=f"{name}project_bn")(x)
    if stride != 1 or channels != filters:
        return x
    if dropout > 0:  # of all features of an image, so that the block is left out
        x = layers.Dropout(dropout, noise_shape=(None, 1, 1, 1), name=f"{name}drop")(x)
    return layers.Add(name=f"{name}add")([x, inputs])


def _convolved(x: KerasTensor, name: str, filters: int, size: int, stride: int = 1) -> KerasTensor:
    """A convolution, batch normalization and ReLU6."""
    x = _convolution(x, f"{name}conv", filters, size, stride)
    x = layers.BatchNormalization(name=f"{name}bn")(x)
    return layers.Activation("relu6", name=f"{name}activation")(x)


def _convolution(
    x: KerasTensor, name: str, filters: int, size: int, stride: int = 1
) -> KerasTensor:
    x, padding = _padded(x, name, size, stride)
    return layers.Conv2D(
        filters, size, stride, padding, use_bias=False, kernel_initializer=_initializer(), name=name
    )(x)


def _depthwise(x: KerasTensor, name: str, size: int, stride: int) -> KerasTensor:
    """A depthwise convolution, batch normalization and ReLU6."""
    x, padding = _padded(x, f"{name}dwconv", size, stride)
    x = layers.DepthwiseConv2D(
        size,
        stride,
        padding,
        use_bias=False,
        depthwise_initializer=_initializer(),
        name=f"{name}dwconv",
    )(x)
    x = layers.BatchNormalization(name=f"{name}bn")(x)
    return layers.Activation("relu6", name=f"{name}activation")(x)


def _padded(x: KerasTensor, name: str, size: int, stride: int) -> tuple[KerasTensor, str]:
    """Adds the margin of a convolution with a stride; returns it and the padding that remains."""
    if stride == 1:
        return x, "same"
    # An even side needs one row fewer above, so that the windows reach its last row.
    margin = tuple((size // 2 - 1 + side % 2, size // 2) for side in x.shape[1:3])
    return layers.ZeroPadding2D(margin, name=f"{name}_pad")(x), "valid"


def _initializer() -> initializers.Initializer:
    return initializers.VarianceScaling(2.0, "fan_out", "truncated_normal")


def _rounded(filters: float) -> int:
    """The nearest multiple of 8 that is not below 90 % of a number of filters."""
    nearest = max(8, int(filters + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * filters else nearest
