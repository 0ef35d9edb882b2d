"""Convolution, batch norm, ReLU and pooling as PyTorch computes them, under PyTorch's names."""

from keras import KerasTensor, Model, layers

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, RGB in 0..1


def scaled(images: KerasTensor) -> KerasTensor:
    """Pixels 0..255 less ImageNet's mean, divided by its deviation, as torchvision's networks."""
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

    Keras' "same" would pad a stride of 2 on one side more than on the other.
    """
    x = _with_margin(x, name, size // 2) if stride > 1 else x
    padding = "valid" if stride > 1 else "same"
    return layers.Conv2D(channels, size, stride, padding, use_bias=bias, name=name)(x)


def batch_norm(x: KerasTensor, name: str, epsilon: float, momentum: float) -> KerasTensor:
    """Batch norm; `momentum` is Keras', the share of the old statistics: 1 less PyTorch's."""
    return layers.BatchNormalization(momentum=momentum, epsilon=epsilon, name=name)(x)


def max_pooling(x: KerasTensor, name: str, size: int = 3, stride: int = 2) -> KerasTensor:
    """Maximum over windows, the last of which may reach beyond the edge (PyTorch's ceil_mode).

    Args:
        x: features of 0 or more, such as after ReLU: the zeros put around them never win.
        name: of the layer.
        size: of the window.
        stride: its step; of 1, the windows are centred, as with a padding of (size - 1) / 2.
    """
    if stride == 1:
        return layers.MaxPooling2D(size, 1, "same", name=name)(x)
    missing = [max(size - side, (size - side) % stride) for side in x.shape[1:3]]
    if any(missing):
        margin = tuple((0, each) for each in missing)
        x = layers.ZeroPadding2D(margin, name=f"{name}_margin")(x)
    return layers.MaxPooling2D(size, stride, name=name)(x)


def even(x: KerasTensor, name: str) -> KerasTensor:
    """Zeros above and left of an odd height and width, so that halving it is halving upwards."""
    odd = [side % 2 for side in x.shape[1:3]]
    margin = tuple((each, 0) for each in odd)
    return layers.ZeroPadding2D(margin, name=f"{name}_even")(x) if any(odd) else x


def average_pooling(x: KerasTensor, name: str) -> KerasTensor:
    """Mean over 3x3 windows which counts the zeros around the image, unlike Keras' "same"."""
    return layers.AveragePooling2D(3, 1, name=name)(_with_margin(x, name, 1))


def expect_size(name: str, image_size: tuple[int, int], smallest: int = 32) -> None:
    """Raises ValueError where the last features would vanish."""
    if min(image_size) < smallest:
        raise ValueError(
            f"Expected images of at least {smallest} x {smallest} pixels for {name}, which halves "
            f"them five times; received {image_size}. Use a larger image_size."
        )


def as_backbone(images: KerasTensor, features: KerasTensor) -> Model:
    """The network under the name that every backbone has."""
    return Model(images, features, name="backbone")


def _with_margin(x: KerasTensor, name: str, pixels: int) -> KerasTensor:
    return layers.ZeroPadding2D(pixels, name=f"{name}_margin")(x)
