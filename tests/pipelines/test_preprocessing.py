"""Compares evaluation with Pillow, and training with torchvision's algorithm in NumPy."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pa_keras.pipelines import evaluation_image, training_image
from pa_keras.pipelines.preprocessing import _resize, _window

SIZE = (48, 40)


def noise(height, width):
    """Makes a smooth picture with many details, uint8."""
    small = np.random.default_rng(0).integers(0, 256, (height // 4, width // 4, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def jpeg(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95)
    return file.getvalue()


@pytest.mark.parametrize("shape", [(30, 44), (48, 40), (9, 200)])
def test_a_batch_is_as_its_images(shape):
    batch = np.random.default_rng(0).integers(0, 256, (3, *shape, 3), np.uint8)
    expected = [evaluation_image(image, SIZE) for image in batch]
    np.testing.assert_array_equal(evaluation_image(batch, SIZE), expected)
    traced = tf.function(
        lambda images: evaluation_image(images, SIZE),
        input_signature=[tf.TensorSpec((None, None, None, 3), tf.uint8)],
    )
    np.testing.assert_array_equal(traced(batch), expected)


@pytest.mark.parametrize("shape", [(300, 400), (400, 300), (64, 200), (40, 40), (24, 30)])
@pytest.mark.parametrize("image_size", [(64, 64), (56, 40)])
@pytest.mark.parametrize("crop_fraction", [0.875, 1.0])
def test_evaluation_equals_pillow(shape, image_size, crop_fraction):
    pixels = noise(*shape)
    cover = [round(side / crop_fraction) for side in image_size]
    scale = max(cover[0] / shape[0], cover[1] / shape[1])
    height, width = (int(side * scale + 1e-6) for side in shape)
    resized = Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR)
    top, left = (height - image_size[0]) // 2, (width - image_size[1]) // 2
    expected = np.asarray(resized, np.float32)[top:, left:][: image_size[0], : image_size[1]]
    result = evaluation_image(pixels, image_size, crop_fraction)
    assert result.dtype == tf.float32
    assert result.shape == (*image_size, 3)
    # Pillow rounds to integers after each of the two directions.
    assert np.abs(result.numpy() - expected).max() <= 1.2


def test_whole_image_of_the_right_size_is_unchanged():
    pixels = noise(64, 64)
    np.testing.assert_allclose(evaluation_image(pixels, (64, 64), 1.0), pixels, atol=1e-4)


@pytest.mark.parametrize("crop_fraction", [0.0, -1.0, 1.5])
def test_crop_fraction_out_of_range(crop_fraction):
    with pytest.raises(ValueError, match="crop_fraction in"):
        evaluation_image(noise(64, 64), (32, 32), crop_fraction)


@pytest.mark.parametrize("options", [{"area": (20, 100)}, {"ratio": (0, 1)}])
def test_windows_out_of_range(options):
    with pytest.raises(ValueError, match=f"Expected {next(iter(options))} = .*low <= high"):
        training_image(noise(64, 64), SIZE, (0, 0), **options)


def window_oracle(size, draws, area, ratio):
    """Torchvision's RandomResizedCrop.get_params on given random numbers."""
    height, width = size
    areas, ratios, tops, lefts = np.split(np.float64(draws[:-1]), 4)
    for i in range(10):
        target = height * width * (area[0] + (area[1] - area[0]) * areas[i])
        low, high = np.log(ratio)
        shape = np.exp(low + (high - low) * ratios[i])
        w, h = round(np.sqrt(target * shape)), round(np.sqrt(target / shape))
        if 0 < w <= width and 0 < h <= height:
            return int(tops[i] * (height - h + 1)), int(lefts[i] * (width - w + 1)), h, w
    if width / height < ratio[0]:
        w, h = width, round(width / ratio[0])
    elif width / height > ratio[1]:
        w, h = round(height * ratio[1]), height
    else:
        w, h = width, height
    return (height - h) // 2, (width - w) // 2, h, w


@pytest.mark.parametrize("size", [(160, 160), (120, 200), (500, 60), (40, 400), (1, 1), (3, 2)])
def test_window_equals_torchvision(size):
    area, ratio = (0.08, 1.0), (3 / 4, 4 / 3)
    window = tf.function(lambda draws: _window(tf.constant([*size, 3]), draws, area, ratio))
    wrong = 0
    for draws in np.random.default_rng(1).random((100, 41), np.float32):
        wrong += tuple(window(draws).numpy()) != window_oracle(size, draws, area, ratio)
    assert wrong <= 2  # float32 may round a side the other way


def test_windows_are_inside_and_in_range():
    area, ratio = (0.2, 0.9), (0.5, 2.0)
    draws = np.random.default_rng(0).random((300, 41), np.float32)
    window = tf.function(lambda draws: _window(tf.constant([160, 120, 3]), draws, area, ratio))
    windows = np.array([window(each) for each in draws])
    top, left, height, width = windows.T
    assert (windows[:, :2] >= 0).all()
    assert (top + height <= 160).all() and (left + width <= 120).all()
    share = height * width / (160 * 120)
    assert share.min() > 0.19 and share.max() < 0.91
    assert (width / height).min() > 0.48 and (width / height).max() < 2.05
    assert 0.4 < np.mean(top > (160 - height) / 2) < 0.6


@pytest.mark.parametrize("from_file", [True, False])
def test_training_image_is_seeded(from_file):
    pixels = noise(120, 160)
    source = tf.constant(jpeg(pixels)) if from_file else tf.constant(pixels)
    same = [training_image(source, SIZE, (1, 2)).numpy() for _ in range(2)]
    np.testing.assert_array_equal(*same)
    assert same[0].shape == (*SIZE, 3)
    assert same[0].dtype == np.float32
    assert np.abs(training_image(source, SIZE, (1, 3)).numpy() - same[0]).max() > 1


def test_fused_decoding_takes_the_same_window():
    contents = jpeg(noise(120, 160))
    pixels = tf.io.decode_jpeg(contents, dct_method="INTEGER_ACCURATE")
    for position in range(20):
        fused = training_image(tf.constant(contents), SIZE, (0, position)).numpy()
        whole = training_image(pixels, SIZE, (0, position)).numpy()
        # At the edge of the window, libjpeg has no neighbour to smooth the colour with.
        np.testing.assert_allclose(fused[3:-3, 3:-3], whole[3:-3, 3:-3], atol=1e-3)
        assert np.abs(fused - whole).mean() < 0.5


def test_other_formats_train_too():
    pixels = noise(120, 160)
    png = training_image(tf.io.encode_png(pixels), SIZE, (0, 1))
    np.testing.assert_array_equal(png, training_image(tf.constant(pixels), SIZE, (0, 1)))


def test_half_are_mirrored():
    pixels = tf.constant(noise(48, 40))
    whole = {"area": (1.0, 1.0), "ratio": (40 / 48, 40 / 48)}
    results = [training_image(pixels, SIZE, (0, i), **whole).numpy() for i in range(100)]
    plain = training_image(pixels, SIZE, (0, 0), **whole, flip=False).numpy()
    np.testing.assert_allclose(plain, pixels, atol=1e-3)
    mirrored = [np.allclose(each, plain[:, ::-1], atol=1e-3) for each in results]
    kept = [np.allclose(each, plain, atol=1e-3) for each in results]
    assert sum(mirrored) + sum(kept) == 100
    assert 35 <= sum(mirrored) <= 65


def test_a_larger_window_is_antialiased():
    pixels = noise(400, 400)
    result = training_image(tf.constant(pixels), (50, 50), (0, 0), (1.0, 1.0), (1.0, 1.0), False)
    expected = Image.fromarray(pixels).resize((50, 50), Image.Resampling.BILINEAR)
    assert np.abs(result.numpy() - np.asarray(expected, float)).max() <= 1.2


@pytest.mark.parametrize("shape", [(300, 400), (200, 41), (30, 300), (49, 41), (97, 81)])
def test_the_fast_resize_is_that_of_tensorflow(shape):
    pixels = noise(*shape)
    expected = tf.image.resize(pixels, SIZE, antialias=True)
    np.testing.assert_allclose(_resize(tf.constant(pixels), SIZE), expected, atol=1e-4)
