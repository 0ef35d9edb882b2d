"""Small networks that train from scratch in minutes."""

from keras import Input, Model, layers


def conv4(image_size: tuple[int, int], weights: str | None = None, width: int = 32) -> Model:
    """Builds Conv-4 of few-shot learning: four blocks of 3x3 convolution, BN, ReLU and 2x2 max.

    Each block has twice the channels of the previous one, while the original has 64 in every block.
    This is as fast, and far better on the built-in letters, which differ in the last features.

    Args:
        image_size: (height, width) of the images in pixels, at least 16 x 16.
        weights: None, since there are no published ImageNet weights.
        width: Channels of the first convolution. Default 32; the others then have 64, 128 and 256.

    Returns:
        Model from raw RGB (B, H, W, 3), float32 in 0..255, to features (B, H/16, W/16, 8 width).

    Raises:
        ValueError: If the images are too small, or weights is not None.

    Example:
        >>> conv4((64, 64)).output_shape
        (None, 4, 4, 256)

    Source: Vinyals et al., Matching Networks for One Shot Learning, NeurIPS 2016, section 4.1.
    """
    if weights is not None:
        raise ValueError(
            f"Expected weights=None for conv4, which has no others; received {weights!r}. "
            "Use weights=None, or the backbone efficientnet_lite0 with weights='imagenet'."
        )
    if min(image_size) < 16:
        raise ValueError(
            "Expected images of at least 16 x 16 pixels for conv4, which halves them four times; "
            f"received {image_size}. Use a larger image_size."
        )
    images = Input((*image_size, 3), name="images")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, dtype="float32", name="pixel_scaling")(images)
    for block in range(1, 5):
        channels = width * 2 ** (block - 1)
        x = layers.Conv2D(channels, 3, padding="same", use_bias=False, name=f"conv{block}")(x)
        x = layers.BatchNormalization(name=f"bn{block}")(x)
        x = layers.ReLU(name=f"relu{block}")(x)
        x = layers.MaxPooling2D(2, name=f"pool{block}")(x)
    return Model(images, x, name="backbone")
