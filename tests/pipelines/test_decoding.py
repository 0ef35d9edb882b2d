"""Compares the decoding of each image format with Pillow, eagerly and in a graph."""

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pa_keras.pipelines import decode_image, gif, image_bytes

HEIGHT, WIDTH = 22, 29
RAMP = np.add.outer(np.arange(HEIGHT) * 6, np.arange(WIDTH) * 3)[..., None]
RGB = Image.fromarray((RAMP + [0, 20, 50]).astype(np.uint8))
ALPHA = Image.fromarray(np.dstack([RGB, RAMP]).astype(np.uint8), "RGBA")
RNG = np.random.default_rng(0)


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def by_pillow(contents):
    return np.asarray(Image.open(io.BytesIO(contents)).convert("RGB")).astype(int)


def ycck():
    """Makes a CMYK JPEG whose Adobe marker declares YCCK."""
    contents = bytearray(encoded(RGB.convert("CMYK"), "JPEG"))
    contents[contents.index(b"Adobe") + 11] = 2
    return bytes(contents)


def bmp(width, height, bits, pixels, palette=b"", compression=0):
    offset = 54 + len(palette)
    header = struct.pack("<IHHI", offset + len(pixels), 0, 0, offset)
    info = (40, width, height, 1, bits, compression, len(pixels), 0, 0, len(palette) // 4, 0)
    return b"BM" + header + struct.pack("<IiiHHIIiiII", *info) + palette + pixels


def os2_bmp(width, height, bits, pixels, palette=b""):
    offset = 26 + len(palette)
    header = struct.pack("<IHHI", offset + len(pixels), 0, 0, offset)
    return b"BM" + header + struct.pack("<IHHHH", 12, width, height, 1, bits) + palette + pixels


def partial_gif():
    """Makes a GIF of 20 x 16 whose first frame, 8 x 6, is at (4, 3)."""
    contents = bytearray(encoded(RGB.resize((8, 6)).quantize(4), "GIF"))
    frame = 13 + 3 * 2 ** (contents[10] % 8 + 1)
    contents[6:10] = struct.pack("<HH", 20, 16)
    frame = contents.index(b",", frame)
    contents[frame + 1 : frame + 5] = struct.pack("<HH", 4, 3)
    return bytes(contents)


def growing_gif():
    """Makes a GIF of 20 x 16 with a first frame of 8 x 6, at (4, 3), and a full second frame."""
    first, whole = partial_gif(), encoded(RGB.resize((20, 16)).quantize(4), "GIF")
    palette = whole[13 : 13 + 3 * 2 ** (whole[10] % 8 + 1)]
    frame = struct.pack("<c4HB", b",", 0, 0, 20, 16, whole[10] & 0x87)
    pixels = whole.index(b",", 13 + len(palette)) + 10
    return first[:-1] + frame + palette + whole[pixels:]


PALETTE = RNG.integers(0, 256, (256, 4), np.uint8).tobytes()
PALETTED = RGB.quantize(16)
MOVING = {"save_all": True, "append_images": [RGB.transpose(Image.Transpose.ROTATE_180)]}
SAMPLES = RNG.integers(0, 2**16, (HEIGHT, WIDTH, 4), np.uint16)
FILES = {
    "jpeg": encoded(RGB, "JPEG"),
    "jpeg progressive": encoded(RGB, "JPEG", progressive=True),
    "jpeg 4:4:4": encoded(RGB, "JPEG", subsampling=0),
    "jpeg greyscale": encoded(RGB.convert("L"), "JPEG"),
    "jpeg CMYK, inverted by Adobe": encoded(RGB.convert("CMYK"), "JPEG"),
    "jpeg YCCK": ycck(),
    "png": encoded(RGB, "PNG"),
    "png palette": encoded(PALETTED, "PNG"),
    "png palette with a transparent colour": encoded(PALETTED, "PNG", transparency=3),
    "png 1 bit": encoded(RGB.convert("1"), "PNG"),
    "png greyscale": encoded(RGB.convert("L"), "PNG"),
    "png greyscale and alpha": encoded(ALPHA.convert("LA"), "PNG"),
    "png alpha": encoded(ALPHA, "PNG"),
    "png 16-bit RGB": tf.io.encode_png(SAMPLES[..., :3]).numpy(),
    "png 16-bit RGB and alpha": tf.io.encode_png(SAMPLES).numpy(),
    "webp lossy": encoded(RGB, "WEBP"),
    "webp lossless": encoded(RGB, "WEBP", lossless=True),
    "webp lossy, alpha": encoded(ALPHA, "WEBP"),
    "webp lossless, alpha": encoded(ALPHA, "WEBP", lossless=True, exact=True),
    "webp moving": encoded(RGB, "WEBP", **MOVING),
    "bmp": encoded(RGB, "BMP"),
    "bmp alpha": encoded(ALPHA, "BMP"),
    "bmp greyscale": encoded(RGB.convert("L"), "BMP"),
    "bmp palette": encoded(PALETTED, "BMP"),
    "bmp 1 bit": encoded(RGB.convert("1"), "BMP"),
    "bmp 4 bits": bmp(7, 6, 4, RNG.bytes(6 * 4), PALETTE[:64]),
    "bmp palette, top row first": bmp(7, -6, 8, RNG.bytes(6 * 8), PALETTE),
    "bmp top row first": bmp(7, -6, 24, RNG.bytes(6 * 24)),
    "bmp of OS/2": os2_bmp(7, 6, 24, RNG.bytes(6 * 24)),
    "bmp of OS/2, one pixel": os2_bmp(1, 1, 24, RNG.bytes(4)),
    "bmp of OS/2, 8 bits": os2_bmp(7, 6, 8, RNG.bytes(6 * 8), PALETTE[:768]),
    "bmp of OS/2, 4 bits": os2_bmp(7, 6, 4, RNG.bytes(6 * 4), PALETTE[:48]),
    "bmp of OS/2, 1 bit": os2_bmp(7, 6, 1, RNG.bytes(6 * 4), PALETTE[:6]),
    "gif": encoded(RGB, "GIF"),
    "gif greyscale": encoded(RGB.convert("L"), "GIF"),
    "gif moving": encoded(RGB, "GIF", **MOVING, duration=40, loop=0, comment=b"x" * 600),
    "gif transparent colour": encoded(PALETTED, "GIF", transparency=3),
}
decode_in_graph = tf.function(decode_image, input_signature=[tf.TensorSpec((), tf.string)])


@pytest.mark.parametrize("name", FILES)
def test_equals_pillow(name):
    expected = by_pillow(FILES[name])
    for decode in (decode_image, decode_in_graph):
        image = decode(FILES[name])
        assert image.dtype == tf.uint8
        assert image.shape == expected.shape
        # Other versions of libjpeg or libwebp may round differently; these give equal pixels.
        assert np.abs(image.numpy() - expected).max() <= (3 if name[0] in "jw" else 0)


def test_16_bit_greyscale_keeps_the_high_byte():
    # Pillow's convert("RGB") clips 16-bit grey at 255, so the oracle is the definition.
    samples = SAMPLES[..., :1]
    image = decode_image(tf.io.encode_png(samples)).numpy()
    np.testing.assert_array_equal(image, np.repeat(samples >> 8, 3, axis=-1))


def test_cmyk_without_adobe_marker_is_not_inverted():
    # Pillow inverts every CMYK JPEG; only Adobe's are stored inverted.
    contents = FILES["jpeg CMYK, inverted by Adobe"]
    start = contents.index(b"\xff\xee")
    length = int.from_bytes(contents[start + 2 : start + 4], "big")
    plain = contents[:start] + contents[start + 2 + length :]
    cmyk = np.asarray(Image.open(io.BytesIO(plain)), int)
    expected = cmyk[..., :3] * cmyk[..., 3:] / 255
    assert np.abs(decode_image(plain).numpy() - expected).max() <= 1


@pytest.mark.parametrize("gif", [partial_gif, growing_gif])
def test_partial_first_frame_is_in_its_place(gif):
    contents = gif()
    image, expected = decode_image(contents).numpy(), by_pillow(contents)
    assert image.shape == (16, 20, 3)
    np.testing.assert_array_equal(image[3:9, 4:12], expected[3:9, 4:12])
    assert image.sum() == image[3:9, 4:12].sum()  # black around it


def test_exif_orientation_is_ignored():
    exif = Image.Exif()
    exif[0x0112] = 6
    image = decode_image(encoded(RGB, "JPEG", exif=exif))
    assert image.shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("name", ["jpeg", "jpeg CMYK, inverted by Adobe", "png"])
def test_jpeg_ratio(name):
    height = -(-HEIGHT // 8) if name.startswith("jpeg") else HEIGHT
    assert decode_image(FILES[name], jpeg_ratio=8).shape[0] == height


# Half of an animated file may contain its complete first frame.
@pytest.mark.parametrize("name", [name for name in FILES if "moving" not in name])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5])
def test_truncated_is_an_error(name, share):
    contents = FILES[name]
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_in_graph(contents[: int(share * len(contents))])


@pytest.mark.parametrize(
    "contents",
    [b"", b"not an image at all", b"BM", b"RIFF", b"GIF89a", b"<svg></svg>", encoded(RGB, "TIFF")],
)
def test_not_an_image_is_an_error(contents):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_in_graph(contents)


def test_compressed_palette_bmp_is_an_error():
    with pytest.raises(tf.errors.InvalidArgumentError, match="uncompressed BMP"):
        decode_image(bmp(8, 6, 8, b"\x08\x05\x00\x00" * 6 + b"\x00\x01", PALETTE, compression=1))


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (os2_bmp(7, 6, 24, bytes(5 * 24)), "cut short"),
        (os2_bmp(65535, 65535, 24, bytes(24)), "too large"),
        (os2_bmp(7, 6, 16, bytes(6 * 16)), "1, 4, 8 or 24 bits"),
    ],
)
def test_a_broken_bmp_of_os2_is_an_error(contents, message):
    for decode in (decode_image, decode_in_graph):
        with pytest.raises(tf.errors.InvalidArgumentError, match=message):
            decode(contents)


def test_in_a_saved_model(tmp_path):
    module = tf.Module()
    module.decode = decode_in_graph
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    image = loaded.decode(tf.constant(FILES["gif"])).numpy()
    np.testing.assert_array_equal(image, by_pillow(FILES["gif"]))


def png(width, height):
    """Makes a black PNG of one bit per pixel; its bytes are a thousandth of its pixels."""

    def chunk(kind, data):
        content = kind + data
        return struct.pack(">I", len(data)) + content + struct.pack(">I", zlib.crc32(content))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(height * (1 + (width + 7) // 8)))
    parts = chunk(b"IHDR", header), chunk(b"IDAT", pixels), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def webp_canvas(width, height, **options):
    """Makes an extended WebP whose header declares another canvas."""
    contents = bytearray(encoded(ALPHA, "WEBP", **options))
    assert contents[12:16] == b"VP8X"
    contents[24:30] = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return bytes(contents)


def webp_lossy(width, height):
    contents = bytearray(FILES["webp lossy"])
    contents[26:30] = struct.pack("<HH", width, height)
    return bytes(contents)


def webp_lossless(width, height):
    contents = bytearray(FILES["webp lossless"])
    size = struct.pack("<I", (width - 1) | (height - 1) << 14)
    contents[21:25] = size[:3] + bytes([size[3] | contents[24] & 0xF0])
    return bytes(contents)


def gif_canvas(width, height):
    return FILES["gif"][:6] + struct.pack("<HH", width, height) + FILES["gif"][10:]


TOO_LARGE = {  # 179 million pixels, just above the limit
    "png": png(13378, 13378),
    "png, 2**32 - 1 on a side": png(8, 8)[:16] + b"\xff" * 8 + png(8, 8)[24:],
    "webp, lossy": webp_lossy(16383, 10924),
    "webp, lossless": webp_lossless(16383, 10924),
    "webp, extended": webp_canvas(16383, 10924),
    "webp, moving": webp_canvas(8000, 6000, **MOVING),  # fewer pixels, but three canvases
    "gif": gif_canvas(13378, 13378),
    "bmp, palette": bmp(13378, 13378, 1, b"", PALETTE[:8]),
    "bmp, top row first": bmp(13378, -13378, 24, b""),
    "bmp, the least height": bmp(8, -(2**31), 8, b"", PALETTE),
}


@pytest.mark.parametrize("name", TOO_LARGE)
@pytest.mark.parametrize("decode", [decode_image, decode_in_graph])
def test_a_size_that_would_fill_the_memory_is_refused_by_the_header(name, decode):
    with pytest.raises(tf.errors.InvalidArgumentError, match="too large"):
        decode(TOO_LARGE[name])


@pytest.mark.parametrize("name", [name for name in FILES if not name.startswith("jpeg")])
def test_the_size_in_the_header_is_the_images(name, monkeypatch):
    # The library reads the headers of these formats, and TensorFlow their pixels.
    height, width, _ = by_pillow(FILES[name]).shape
    samples = height * width * (12 if name == "webp moving" else 3)
    monkeypatch.setattr(image_bytes, "MOST_SAMPLES", samples + 1)
    assert decode_image(FILES[name]).shape == (height, width, 3)
    monkeypatch.setattr(image_bytes, "MOST_SAMPLES", samples)
    with pytest.raises(tf.errors.InvalidArgumentError, match="too large"):
        decode_image(FILES[name])


def test_a_webp_shorter_than_the_longest_header():
    contents = encoded(Image.new("RGB", (1, 1)), "WEBP", lossless=True)
    np.testing.assert_array_equal(decode_in_graph(contents), by_pillow(contents))


@pytest.mark.parametrize("name", ["gif moving", "webp moving"])
def test_later_frames_are_not_decoded(name):
    contents = FILES[name]
    second = contents.rindex(b"ANMF") + 24 if name == "webp moving" else contents.rindex(b"!\xf9")
    spoilt = contents[:second] + b"spoilt" * 99
    np.testing.assert_array_equal(decode_in_graph(spoilt), by_pillow(contents))


@pytest.mark.parametrize("least", [1, 255])
def test_the_end_of_a_gifs_blocks(least):
    def end(data, block):
        while data[block]:
            block += 1 + data[block]
        return block + 1

    for start in (0, 7):
        lengths = RNG.integers(least, 256, 600)
        blocks = b"".join(bytes([length]) + RNG.bytes(length) for length in lengths)
        data = RNG.bytes(start) + blocks + b"\0" + RNG.bytes(3000)
        found = gif._pixels_end(tf.io.decode_raw(data, tf.uint8), tf.constant(start))
        assert found == end(data, start) == start + len(blocks) + 1
