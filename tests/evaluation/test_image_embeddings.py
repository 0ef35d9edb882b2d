"""`embed_images` against the vectors that `python -m pa_keras.embed` writes for the same files."""

import io
import logging
import re
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml
from PIL import Image

from pa_keras import embed, embed_images, load_model, with_proxies
from pa_keras.evaluation.image_embeddings import _GoodImages


def pixel_model(end=True):
    """The pixels of 16 x 16 as a vector, so that a cosine shows every change of an image."""
    images = keras.Input((16, 16, 3))
    vectors = keras.layers.Flatten()(keras.layers.Rescaling(1 / 127.5, -1)(images))
    return keras.Model(images, keras.layers.UnitNormalization()(vectors) if end else vectors)


def picture(width=93, height=70, mode="RGB", seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 4), np.uint8)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return smooth.convert(mode)


def jpeg(**options):
    buffer = io.BytesIO()
    picture().save(buffer, "JPEG", quality=95, **options)
    return buffer.getvalue()


def pil(path):
    """An image that Pillow decodes when its pixels are used, without an open file."""
    image = Image.open(io.BytesIO(Path(path).read_bytes()))
    image.filename = str(path)
    return image


@pytest.fixture
def model():
    return pixel_model()


@pytest.fixture
def files(tmp_path):
    """One image of each kind, of several sizes."""
    folder = tmp_path / "files"
    folder.mkdir()
    rotated = Image.Exif()
    rotated[0x0112] = 6
    picture().save(folder / "a.jpg", quality=95)
    picture(40, 90, seed=1).save(folder / "rotated.jpg", quality=95, exif=rotated)
    picture(120, 33, "L", seed=2).save(folder / "grey.jpg", quality=95)
    picture(50, 50, "CMYK", seed=3).save(folder / "cmyk.jpg", quality=95)
    picture(11, 9, seed=4).save(folder / "small.png")
    picture(mode="RGBA", seed=5).save(folder / "alpha.png")
    picture(mode="LA", seed=6).save(folder / "grey_alpha.png")
    palette = picture(mode="P", seed=7)
    palette.save(folder / "palette.png", transparency=bytes(range(256)))
    picture(mode="1", seed=8).save(folder / "bits.png")
    wide = np.asarray(picture(mode="L", seed=9)).astype(np.uint16) * 256 + 77
    Image.fromarray(wide).save(folder / "wide.png")
    picture(seed=10).save(folder / "b.webp", lossless=True)
    picture(seed=11).save(folder / "c.bmp")
    picture(mode="P", seed=12).save(folder / "d.gif")
    return folder


@pytest.fixture
def run_folder(model, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    model.save(folder / "best.keras")
    (folder / "config.yaml").write_text(yaml.safe_dump({"data": {"crop_fraction": 1.0}}))
    return folder


def embedded(out, images, *source):
    """What the command writes: paths and vectors."""
    embed.main([*map(str, source), "--images", str(images), "--out", str(out)])
    with np.load(out) as arrays:
        return arrays["paths"].tolist(), arrays["embeddings"]


def test_every_form_gives_the_vectors_of_the_command(run_folder, files, tmp_path):
    paths, expected = embedded(tmp_path / "a.npz", files, "--run", run_folder)
    assert len(paths) == 13
    model = load_model(run_folder)
    np.testing.assert_array_equal(embed_images(model, np.array(paths)), expected)
    contents = [Path(path).read_bytes() for path in paths]
    np.testing.assert_array_equal(embed_images(model, contents), expected)
    opened = [pil(path) for path in paths]
    assert {"L", "LA", "RGBA", "P", "1", "CMYK", "I;16"} <= {image.mode for image in opened}
    kept = [i for i, image in enumerate(opened) if image.mode in ("RGB", "RGBA", "L", "I;16")]
    arrays = [np.asarray(pil(paths[i])) for i in kept]
    for images, rows in ((opened, range(13)), (arrays, kept)):
        cosines = np.einsum("nd,nd->n", embed_images(model, images), expected[list(rows)])
        assert cosines.min() > 0.9999, dict(zip(np.array(paths)[list(rows)], cosines, strict=True))
    some = [arrays[0].astype(float), arrays[0].astype(np.int64), arrays[0].astype(np.float16)]
    for vector in embed_images(model, some):
        np.testing.assert_array_equal(vector, embed_images(model, arrays[:1])[0])


def test_a_mixture_in_several_batches_and_in_order(run_folder, files, tmp_path):
    paths, expected = embedded(tmp_path / "a.npz", files, "--run", run_folder)
    forms = [str, lambda path: Path(path).read_bytes(), pil, files.joinpath]
    images = (forms[i % 4](path) for i, path in enumerate(paths))
    vectors = embed_images(load_model(run_folder), images, batch_size=3)
    assert vectors.dtype == np.float32
    assert np.einsum("nd,nd->n", vectors, expected).min() > 0.9999


def test_the_crop_fraction_of_a_run_and_of_a_file(run_folder, files, tmp_path, caplog):
    paths, of_run = embedded(tmp_path / "run.npz", files, "--run", run_folder)
    _, of_file = embedded(tmp_path / "file.npz", files, "--model", run_folder / "best.keras")
    assert np.abs(of_run - of_file).max() > 0.01
    caplog.clear()
    assert load_model(str(run_folder)).crop_fraction == 1.0 and not caplog.records
    model = load_model(run_folder / "best.keras")
    assert re.search("crop_fraction 0.875; its run has 1.0. Load the run", caplog.text)
    np.testing.assert_array_equal(embed_images(model, paths), of_file)
    np.testing.assert_array_equal(embed_images(model, paths, crop_fraction=1.0), of_run)
    plain = keras.saving.load_model(run_folder / "best.keras")
    np.testing.assert_array_equal(embed_images(plain, paths), of_file)


def test_images_are_taken_at_most_a_batch_ahead():
    taken = []

    def images():
        for number in range(20):
            taken.append(number)
            yield np.full((4, 4), number, np.uint8)

    batches = _GoodImages(images(), (2, 2), 1.0, 3, "error").batches()
    assert not taken
    for expected, ahead in (([0, 1, 2], 6), ([3, 4, 5], 9)):
        assert next(batches)[:, 0, 0, 0].round().tolist() == expected and len(taken) == ahead


def test_the_memory_of_an_array_may_be_used_again(model):
    def frames(frame):
        for number in range(8):
            frame[:] = np.asarray(picture(seed=number))
            yield frame

    expected = embed_images(model, [picture(seed=number) for number in range(8)])
    reused = embed_images(model, frames(np.zeros((70, 93, 3), np.uint8)), batch_size=4)
    np.testing.assert_allclose(reused, expected, atol=1e-6)
    opened = Image.open(io.BytesIO(jpeg()))  # decoded by Pillow at its first use
    assert np.ptp(embed_images(model, [opened] * 8), axis=0).max() < 1e-6


def test_a_later_call_does_not_compile_and_sees_new_weights():
    traces = []

    class Counted(keras.layers.Layer):
        def call(self, inputs):
            traces.append(inputs.shape)
            return inputs

    images = keras.Input((4, 4, 3))
    dense = keras.layers.Dense(3, name="dense")
    features = dense(keras.layers.GlobalAveragePooling2D()(Counted()(images)))
    model = keras.Model(images, keras.layers.UnitNormalization()(features))
    some = [np.full((5, 6, 3), 200, np.uint8), picture()]
    first = embed_images(model, some)
    compiled = len(traces)
    dense.kernel.assign(-dense.kernel)
    np.testing.assert_allclose(embed_images(model, some[:1]), -first[:1], atol=1e-6)
    assert len(traces) == compiled


@pytest.mark.parametrize(
    ("bad", "name", "reason"),
    [
        (lambda folder: b"no image", "bytes", "Unknown image file format"),
        (lambda folder: b"", "bytes", "the file is empty"),
        (lambda folder: b"II*\0 and so on", "bytes", "TIFF, which TensorFlow does not decode"),
        (lambda folder: jpeg()[:-500], "bytes", "JPEG"),
        (lambda folder: str(folder / "missing.jpg"), ".*missing.jpg", "No such file"),
        (lambda folder: folder, ".*", "directory"),
        (lambda folder: pil(folder / "cut.jpg"), ".*cut.jpg", "Pillow cannot .*truncated"),
    ],
)
def test_a_bad_image_is_named_or_left_out(model, tmp_path, caplog, bad, name, reason):
    (tmp_path / "cut.jpg").write_bytes(jpeg()[:-500])
    good = picture()
    message = rf"decoded; image 2 \({name}\) cannot: .*{reason}.*on_bad_image=\"skip\""
    with pytest.raises(ValueError, match=message):
        embed_images(model, [good, good, bad(tmp_path), good], batch_size=2)
    given = [good, good, bad(tmp_path), good]
    vectors, kept = embed_images(model, given, batch_size=2, on_bad_image="skip")
    assert kept.tolist() == [0, 1, 3]
    np.testing.assert_array_equal(vectors, np.repeat(embed_images(model, [good]), 3, axis=0))
    assert re.search(rf"Left out 1 images .*\n  image 2 \({name}\): .*{reason}", caplog.text)
    with pytest.raises(ValueError, match=rf"received 1 that cannot .*\n  image 0 \({name}\): "):
        embed_images(model, [bad(tmp_path)], on_bad_image="skip")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (None, "a PIL image or an array; received NoneType. It is image 1"),
        (io.BytesIO(b""), "received BytesIO. It is image 1 .BytesIO"),
        (np.zeros((3, 8, 8)), r"\(H, W, 4\); received \(3, 8, 8\). It is image 1 .ndarray"),
        (np.zeros((0, 8, 3)), r"received \(0, 8, 3\)"),
        (np.zeros((8, 8, 3), bool), "numbers; received the type bool"),
        (np.full((8, 8, 3), 0.5), "floats of 0.5 to 0.5. Multiply them by 255. It is image 1"),
        (np.full((8, 8, 3), -1), "in 0..255; received -1 to -1"),
        (np.full((8, 8, 3), 256.0), "in 0..255; received 256.0 to 256.0"),
        (np.full((8, 8, 3), np.nan), "in 0..255; received nan to nan"),
        (np.full((8, 8, 3), 200, np.uint16), "0..65535; received 200 to 200. If .*'uint8'"),
        (Image.fromarray(np.zeros((8, 8), np.float32)), "mode F, whose range is not known"),
        (Image.fromarray(np.zeros((8, 8), np.int32)), "mode I, whose range is not known"),
    ],
)
def test_what_is_no_image_is_refused_even_if_bad_images_are_skipped(model, image, message):
    with pytest.raises(ValueError, match=message):
        embed_images(model, [picture(), image], on_bad_image="skip")


@pytest.mark.parametrize(
    "alone", ["a.jpg", b"bytes", picture(), np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8))]
)
def test_one_image_alone_is_refused(model, alone):
    with pytest.raises(ValueError, match=r"received one \w+ alone. Write \[image\]"):
        embed_images(model, alone)


def test_bad_arguments(model):
    images = keras.Input((16, 16, 3))
    pooled = keras.layers.UnitNormalization()(keras.layers.GlobalAveragePooling2D()(images))
    for bad, message in [
        ({"images": []}, "at least one image to embed; received none."),
        ({"crop_fraction": 0.0}, r"crop_fraction in \(0, 1\]; received 0.0"),
        ({"batch_size": 0}, "batch_size"),
        ({"on_bad_image": "nan"}, 'on_bad_image "error" or "skip"; received "nan"'),
        ({"model": with_proxies(keras.Model(images, pooled), 3)}, "received the model to train"),
        ({"model": pixel_model(end=False)}, r"unit length; .* such as that of image 0 \(Image\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            embed_images(**{"model": model, "images": [picture()], **bad})


def test_images_without_a_pixel_above_1_are_reported(model, caplog):
    with caplog.at_level(logging.WARNING):
        embed_images(model, [picture()])
        assert not caplog.records
        embed_images(model, [np.ones((8, 8, 3), np.uint8)] * 3)
    assert caplog.text.count("All pixels of a batch are in [0, 1]") == 1
