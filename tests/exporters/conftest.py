"""A small embedding model with non-trivial statistics, and images of every kind."""

import io

import keras
import numpy as np
import pytest
from PIL import Image

from pa_keras.models import embedding_model

SIZE = (40, 48)


@pytest.fixture(scope="session")
def model():
    """`conv4` as if trained: batch normalizations and bias differ from their initial values, so
    that errors of a converter show.
    """
    keras.utils.set_random_seed(0)
    built = embedding_model("conv4", 16, SIZE, weights=None, seed=1)
    rng = np.random.default_rng(0)
    for layer in built.get_layer("backbone").layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            gamma, beta, mean, variance = layer.get_weights()
            layer.set_weights(
                [
                    rng.uniform(0.5, 1.5, gamma.shape),
                    rng.normal(0, 0.2, beta.shape),
                    rng.normal(0, 0.2, mean.shape),
                    rng.uniform(0.5, 1.5, variance.shape),
                ]
            )
    kernel, bias = built.get_layer("embedding").get_weights()
    built.get_layer("embedding").set_weights([kernel, rng.normal(0, 0.5, bias.shape)])
    return built


@pytest.fixture(scope="session")
def scenes():
    """Twelve images of the model's size, float32 0..255: blobs in four colours, three of each."""
    rng = np.random.default_rng(3)
    down, across = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    images = []
    for colour in rng.uniform(60, 255, (4, 3)):
        for _ in range(3):
            y, x = rng.uniform(10, 30, 2)
            blob = np.exp(-((down - y) ** 2 + (across - x) ** 2) / 200)[..., None]
            images.append(np.clip(blob * colour + rng.normal(0, 6, (*SIZE, 3)), 0, 255))
    return np.rint(images).astype("float32")


def encoded(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.fixture(scope="session")
def image_files():
    """Bytes of an image for each kind that the exports must read."""
    rng = np.random.default_rng(4)
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), "uint8"))
    image = small.resize((90, 70), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    moving = {"save_all": True, "append_images": [image.rotate(90, expand=False)]}
    narrow = Image.fromarray(rng.integers(0, 256, (20, 20_000, 3), "uint8"))
    return {
        "jpeg": encoded(image, "JPEG"),
        "grey jpeg": encoded(image.convert("L"), "JPEG"),
        "cmyk jpeg": encoded(image.convert("CMYK"), "JPEG"),
        "turned jpeg": encoded(image, "JPEG", exif=exif),
        "png": encoded(image, "PNG"),
        "alpha png": encoded(image.convert("RGBA"), "PNG"),
        "palette png": encoded(image.convert("P"), "PNG"),
        "webp": encoded(image, "WEBP"),
        "bmp": encoded(image, "BMP"),
        "gif": encoded(image, "GIF"),
        "moving gif": encoded(image, "GIF", **moving),
        "1 x 1": encoded(image.resize((1, 1)), "PNG"),
        "20,000 x 20": encoded(narrow, "JPEG"),
        "20 x 20,000": encoded(narrow.rotate(90, expand=True), "PNG"),
    }
