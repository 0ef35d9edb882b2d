"""BN-Inception, the main network of the paper, with the pixel scaling of Caffe."""

from typing import NamedTuple

from keras import Input, KerasTensor, Model, layers, ops

from pa_keras.backbones import torch_layers

_MEAN = (104.0, 117.0, 128.0)  # blue, green, red in 0..255


class _Block(NamedTuple):
    """Channels of an Inception block, whose branches are concatenated in this order."""

    name: str
    one: int | None  # 1x1; None in a block that halves the image
    three: tuple[int, int]  # 1x1 -> 3x3
    double: tuple[int, int]  # 1x1 -> 3x3 -> 3x3
    pool: tuple[str, int | None]  # pooling -> 1x1; None: no convolution after the pooling


_BLOCKS = (
    # 28 x 28 for an image of 224 x 224
    _Block("3a", 64, (64, 64), (64, 96), ("average", 32)),
    _Block("3b", 64, (64, 96), (64, 96), ("average", 64)),
    _Block("3c", None, (128, 160), (64, 96), ("max", None)),
    # 14 x 14
    _Block("4a", 224, (64, 96), (96, 128), ("average", 128)),
    _Block("4b", 192, (96, 128), (96, 128), ("average", 128)),
    _Block("4c", 160, (128, 160), (128, 160), ("average", 128)),
    _Block("4d", 96, (128, 192), (160, 192), ("average", 128)),
    _Block("4e", None, (128, 192), (192, 256), ("max", None)),
    # 7 x 7
    _Block("5a", 352, (192, 320), (160, 224), ("average", 128)),
    _Block("5b", 352, (192, 320), (192, 224), ("max", 128)),
)


def bn_inception(image_size: tuple[int, int]) -> Model:
    """Builds BN-Inception with random weights.

    The layers have the names of the PyTorch port `pretrainedmodels.bninception`, so that
    `torch_weights.load` can load its weights.

    Args:
        image_size: (height, width) of the images in pixels, at least 32 x 32.

    Returns:
        Model named "backbone" from raw RGB (B, H, W, 3), float32 in 0..255, to features
        (B, ~H/32, ~W/32, 1024).

    Raises:
        ValueError: If the images are too small.

    Example:
        >>> bn_inception((224, 224)).output_shape
        (None, 7, 7, 1024)

    Source: Ioffe and Szegedy, Batch Normalization, ICML 2015, figure 5.
    """
    torch_layers.expect_size("bn_inception", image_size)
    images = Input((*image_size, 3), name="images")
    scaling = layers.Rescaling(
        1.0, offset=[-mean for mean in _MEAN], dtype="float32", name="pixel_scaling"
    )
    x = scaling(ops.flip(images, axis=-1))
    x = _convolved(x, "conv1_7x7_s2", 64, 7, stride=2)
    x = torch_layers.max_pooling(x, "pool1_3x3_s2")
    x = _convolved(x, "conv2_3x3_reduce", 64, 1)
    x = _convolved(x, "conv2_3x3", 192, 3)
    x = torch_layers.max_pooling(x, "pool2_3x3_s2")
    for block in _BLOCKS:
        x = _inception(x, block)
    return torch_layers.as_backbone(images, x)


def _inception(x: KerasTensor, block: _Block) -> KerasTensor:
    name = f"inception_{block.name}"
    stride = 2 if block.one is None else 1
    branches = [] if block.one is None else [_convolved(x, f"{name}_1x1", block.one, 1)]

    reduced = _convolved(x, f"{name}_3x3_reduce", block.three[0], 1)
    branches.append(_convolved(reduced, f"{name}_3x3", block.three[1], 3, stride))

    double = f"{name}_double_3x3"
    reduced = _convolved(x, f"{double}_reduce", block.double[0], 1)
    once = _convolved(reduced, f"{double}_1", block.double[1], 3)
    branches.append(_convolved(once, f"{double}_2", block.double[1], 3, stride))

    kind, projected = block.pool
    if kind == "average":
        pooled = torch_layers.average_pooling(x, f"{name}_pool")
    else:
        # The convolutions round half of an odd side up, so the pooling must, too; PyTorch's port
        # fails here.
        whole = torch_layers.even(x, f"{name}_pool") if stride > 1 else x
        pooled = torch_layers.max_pooling(whole, f"{name}_pool", stride=stride)
    branches.append(_convolved(pooled, f"{name}_pool_proj", projected, 1) if projected else pooled)
    return layers.Concatenate(name=f"{name}_output")(branches)


def _convolved(x: KerasTensor, name: str, channels: int, size: int, stride: int = 1) -> KerasTensor:
    x = torch_layers.convolution(x, name, channels, size, stride, bias=True)
    # Of the old statistics, the authors' framework keeps a tenth at each step, PyTorch nine tenths.
    x = torch_layers.batch_norm(x, f"{name}_bn", epsilon=1e-5, momentum=0.1)
    return layers.ReLU(name=f"{name}_relu")(x)
