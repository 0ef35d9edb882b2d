"""Convolution, batch normalization and pooling as PyTorch computes them."""

from keras import KerasTensor, Model, layers

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, RGB in 0..1


def scaled(images: KerasTensor) -> KerasTensor:
    """Scales pixels 0..255 by ImageNet's mean and deviation, as for torchvision's networks."""
    return layers.Rescaling(
        [1 / (255 * std) for std in STD],
        offset=[-mean / std for mean, std in zip(MEAN, STD, strict=True)],
        dtype="float32",  # under every policy: half precision has too few digits for 0..255
        name="pixel_scaling",
    )(images)


def convolution(
    x: KerasTensor, name: str, channels: int, size: int, stride: int = 1, bias: bool = False
) -> KerasTensor:
    """A square convolution with (size - 1) / 2 zeros on every side.

    With a stride of 2, the padding "same" of Keras is not symmetric.
    """
    x = _with_margin(x, name, size // 2) if stride > 1 else x
    padding = "valid" if stride > 1 else "same"
    return layers.Conv2D(channels, size, stride, padding, use_bias=bias, name=name)(x)


def batch_norm(x: KerasTensor, name: str, epsilon: float, momentum: float) -> KerasTensor:
    """Batch norm; `momentum` is that of Keras, the share of the old statistics (1 - PyTorch's)."""
    return layers.BatchNormalization(momentum=momentum, epsilon=epsilon, name=name)(x)


def max_pooling(x: KerasTensor, name: str, size: int = 3, stride: int = 2) -> KerasTensor:
    """Maximum over windows, the last of which may reach beyond the edge (PyTorch's ceil_mode).

    Args:
        x: Features of at least 0, as after ReLU, so that zero padding never changes a maximum.
        name: Name of the layer.
        size: Size of the window.
        stride: Stride; with 1, the windows are centred, as with a padding of (size - 1) / 2.
    """
    if stride == 1:
        return layers.MaxPooling2D(size, 1, "same", name=name)(x)
    missing = [max(size - side, (size - side) % stride) for side in x.shape[1:3]]
    if any(missing):
        margin = tuple((0, each) for each in missing)
        x = layers.ZeroPadding2D(margin, name=f"{name}_margin")(x)
    return layers.MaxPooling2D(size, stride, name=name)(x)


def even(x: KerasTensor, name: str) -> KerasTensor:
    """Pads odd heights and widths with zeros above and on the left, so that halving rounds up."""
    odd = [side % 2 for side in x.shape[1:3]]
    margin = tuple((each, 0) for each in odd)
    return layers.ZeroPadding2D(margin, name=f"{name}_even")(x) if any(odd) else x


def average_pooling(x: KerasTensor, name: str) -> KerasTensor:
    """Mean over 3x3 windows that counts the zero padding, unlike the padding "same" of Keras."""
    return layers.AveragePooling2D(3, 1, name=name)(_with_margin(x, name, 1))


def expect_size(name: str, image_size: tuple[int, int], smallest: int = 32) -> None:
    """Raises a ValueError if the last features would be empty."""
    if min(image_size) < smallest:
        raise ValueError(
            f"Expected images of at least {smallest} x {smallest} pixels for {name}, which halves "
            f"them five times; received {image_size}. Use a larger image_size."
        )


def as_backbone(images: KerasTensor, features: KerasTensor) -> Model:
    """Builds the model with the name that every backbone has."""
    return Model(images, features, name="backbone")


def _with_margin(x: KerasTensor, name: str, pixels: int) -> KerasTensor:
    return layers.ZeroPadding2D(pixels, name=f"{name}_margin")(x)
