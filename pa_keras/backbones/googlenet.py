"""GoogLeNet as in torchvision: with batch norm, and 3x3 where the paper has 5x5."""

from keras import Input, KerasTensor, Model, layers

from pa_keras.backbones import torch_layers

# Channels of the four branches: 1x1; 1x1 -> 3x3; 1x1 -> 3x3 (5x5 in the paper); 3x3 max -> 1x1.
_BLOCKS = {
    # 28 x 28 for an image of 224 x 224
    "3a": (64, (96, 128), (16, 32), 32),
    "3b": (128, (128, 192), (32, 96), 64),
    # 14 x 14
    "4a": (192, (96, 208), (16, 48), 64),
    "4b": (160, (112, 224), (24, 64), 64),
    "4c": (128, (128, 256), (24, 64), 64),
    "4d": (112, (144, 288), (32, 64), 64),
    "4e": (256, (160, 320), (32, 128), 128),
    # 7 x 7
    "5a": (256, (160, 320), (32, 128), 128),
    "5b": (384, (192, 384), (48, 128), 128),
}
# Size of the pooling windows after a block.
_POOLED_AFTER = {"3b": 3, "4e": 2}


def googlenet(image_size: tuple[int, int]) -> Model:
    """Builds GoogLeNet with random weights, without auxiliary classifiers and dropout.

    Pixels are scaled with ImageNet's mean and deviation, as by the authors of Proxy-Anchor;
    torchvision scales them to -1..1 for the same weights. The layers have torchvision's names, so
    that `torch_weights.load` can load its weights.

    Args:
        image_size: (height, width) of the images in pixels, at least 32 x 32.

    Returns:
        Model named "backbone" from raw RGB (B, H, W, 3), float32 in 0..255, to features
        (B, ~H/32, ~W/32, 1024).

    Raises:
        ValueError: If the images are too small.

    Example:
        >>> googlenet((224, 224)).output_shape
        (None, 7, 7, 1024)

    Source: Szegedy et al., Going Deeper with Convolutions, CVPR 2015, table 1.
    """
    torch_layers.expect_size("googlenet", image_size)
    images = Input((*image_size, 3), name="images")
    x = _convolved(torch_layers.scaled(images), "conv1", 64, 7, stride=2)
    x = torch_layers.max_pooling(x, "maxpool1")
    x = _convolved(x, "conv2", 64, 1)
    x = _convolved(x, "conv3", 192, 3)
    x = torch_layers.max_pooling(x, "maxpool2")
    for name, (one, three, five, pool) in _BLOCKS.items():
        x = _inception(x, f"inception{name}", one, three, five, pool)
        if name in _POOLED_AFTER:
            x = torch_layers.max_pooling(x, f"maxpool_{name}", _POOLED_AFTER[name])
    return torch_layers.as_backbone(images, x)


def _inception(
    x: KerasTensor, name: str, one: int, three: tuple[int, int], five: tuple[int, int], pool: int
) -> KerasTensor:
    branches = [_convolved(x, f"{name}.branch1", one, 1)]
    for number, (reduced, channels) in enumerate((three, five), 2):
        narrow = _convolved(x, f"{name}.branch{number}.0", reduced, 1)
        branches.append(_convolved(narrow, f"{name}.branch{number}.1", channels, 3))
    pooled = torch_layers.max_pooling(x, f"{name}.branch4.0", stride=1)
    branches.append(_convolved(pooled, f"{name}.branch4.1", pool, 1))
    return layers.Concatenate(name=name)(branches)


def _convolved(x: KerasTensor, name: str, channels: int, size: int, stride: int = 1) -> KerasTensor:
    x = torch_layers.convolution(x, f"{name}.conv", channels, size, stride)
    x = torch_layers.batch_norm(x, f"{name}.bn", epsilon=1e-3, momentum=0.9)
    return layers.ReLU(name=f"{name}.relu")(x)
