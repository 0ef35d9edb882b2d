"""ResNet-18, 34, 50 and 101 as in torchvision: version 1.5, with the stride in the 3x3."""

from keras import Input, KerasTensor, Model, layers

from pa_keras.backbones import torch_layers

# Blocks in the four stages with 64, 128, 256 and 512 channels; 2 or 3 convolutions in a block.
_STAGES = {
    "torch_resnet18": ((2, 2, 2, 2), 2),
    "torch_resnet34": ((3, 4, 6, 3), 2),
    "torch_resnet50": ((3, 4, 6, 3), 3),
    "torch_resnet101": ((3, 4, 23, 3), 3),
}
NAMES = tuple(_STAGES)


def torch_resnet(name: str, image_size: tuple[int, int]) -> Model:
    """Builds a ResNet v1.5 with random weights.

    `keras.applications.ResNet50` is a different network: version 1, with the stride in the first
    1x1, biases, and the pixel scaling of Caffe. The layers here have torchvision's names, so that
    `torch_weights.load` can load its weights.

    Args:
        name: One of `NAMES`.
        image_size: (height, width) of the images in pixels, at least 32 x 32.

    Returns:
        Model named "backbone" from raw RGB (B, H, W, 3), float32 in 0..255, to features
        (B, ~H/32, ~W/32, C); C is 512 for 18 and 34, 2048 for 50 and 101.

    Raises:
        ValueError: If the images are too small.

    Example:
        >>> torch_resnet("torch_resnet50", (224, 224)).output_shape
        (None, 7, 7, 2048)

    Source: He et al., Deep Residual Learning for Image Recognition, CVPR 2016, table 1; Goyal et
        al., Accurate, Large Minibatch SGD, 2017, for the position of the stride.
    """
    torch_layers.expect_size(name, image_size)
    blocks, depth = _STAGES[name]
    images = Input((*image_size, 3), name="images")
    x = _convolved(torch_layers.scaled(images), "conv1", "bn1", 64, 7, stride=2)
    x = layers.ReLU(name="relu")(x)
    # 3x3 with stride 2 and one pixel of padding; after ReLU, zeros never change a maximum.
    x = layers.ZeroPadding2D(1, name="maxpool_margin")(x)
    x = layers.MaxPooling2D(3, 2, name="maxpool")(x)
    for stage, count in enumerate(blocks, 1):
        for block in range(count):
            stride = 2 if stage > 1 and block == 0 else 1
            x = _block(x, f"layer{stage}.{block}", 64 * 2 ** (stage - 1), stride, depth)
    return torch_layers.as_backbone(images, x)


def _block(x: KerasTensor, name: str, channels: int, stride: int, depth: int) -> KerasTensor:
    # (channels, size, stride) of the convolutions: two 3x3, or 1x1, 3x3 and 1x1 of fourfold width.
    if depth == 2:
        plan = [(channels, 3, stride), (channels, 3, 1)]
    else:
        plan = [(channels, 1, 1), (channels, 3, stride), (4 * channels, 1, 1)]
    shortcut = x
    width = plan[-1][0]
    if stride > 1 or x.shape[-1] != width:
        first, second = f"{name}.downsample.0", f"{name}.downsample.1"
        shortcut = _convolved(x, first, second, width, 1, stride)
    for number, (filters, size, step) in enumerate(plan, 1):
        x = _convolved(x, f"{name}.conv{number}", f"{name}.bn{number}", filters, size, step)
        if number < depth:
            x = layers.ReLU(name=f"{name}.relu{number}")(x)
    x = layers.Add(name=f"{name}.add")([x, shortcut])
    return layers.ReLU(name=f"{name}.relu")(x)


def _convolved(
    x: KerasTensor, convolution: str, norm: str, channels: int, size: int, stride: int = 1
) -> KerasTensor:
    x = torch_layers.convolution(x, convolution, channels, size, stride)
    return torch_layers.batch_norm(x, norm, epsilon=1e-5, momentum=0.9)
