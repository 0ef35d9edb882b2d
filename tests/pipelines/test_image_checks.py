"""Tests that every kind of bad file is reported, and that EXIF orientations are counted."""

import hashlib
import io
import logging
import os
import re
import struct
import types
import zlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from pa_keras.pipelines import check_images, image_scan, undecodable

PIXELS = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)


@pytest.fixture
def files(tmp_path):
    """Ten good images, by name."""
    paths = [tmp_path / f"good{i}.{kind}" for i in range(5) for kind in ("jpg", "png")]
    for path in paths:
        Image.fromarray(PIXELS).save(path)
    return [str(path) for path in paths]


def encoded(pixels, kind):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def replaced(contents, marker, offset, new):
    """Returns the contents with new bytes at an offset from a marker."""
    start = contents.index(marker) + offset
    return contents[:start] + new + contents[start + len(new) :]


def huge_jpeg():
    """Makes a grey JPEG of 65472 x 8208 samples, just above 2**29, in six megabytes."""
    small = encoded(PIXELS[..., 0], "JPEG")
    header = small[: small.index(b"\xff\xda") + 10]
    header = replaced(header, b"\xff\xc0", 5, struct.pack(">HH", 8208, 65472))
    # A block like the previous one has the bits 00 (no difference) and 1010 (no frequencies).
    blocks = (65472 // 8) * (8208 // 8)
    return header + b"\x28\xa2\x8a" * (blocks // 4) + b"\xff\xd9"


JPEG, PNG = encoded(PIXELS, "JPEG"), encoded(PIXELS, "PNG")
SPOILT = {
    "zero-byte.jpg": (b"", "the file is empty"),
    "truncated.jpg": (JPEG[: len(JPEG) // 2], "Invalid JPEG data"),
    "tables.jpg": (replaced(JPEG, b"\xff\xc4", 5, b"\xff" * 16), "Invalid JPEG data"),
    "size.jpg": (replaced(JPEG, b"\xff\xc0", 5, bytes(4)), "Invalid JPEG data"),
    "crc.png": (replaced(PNG, b"IEND", -8, bytes(4)), "Invalid PNG data"),
    "truncated.png": (PNG[: len(PNG) // 2], "Invalid PNG data"),
    "text.jpg": (b"<html>404 Not Found</html>", "Unknown image file format"),
    "missing.jpg": (None, "No such file"),
    "phone.jpg": (
        b"\0\0\0\x18ftypheic" + bytes(12),
        "format is HEIC or AVIF, which TensorFlow does",
    ),
    "scan.png": (encoded(PIXELS, "TIFF"), "the format is TIFF, which TensorFlow does not decode"),
    os.fsdecode(b"caf\xe9.jpg"): (JPEG, "the name is not valid UTF-8; rename it"),
}


def spoil(folder, name):
    contents, _ = SPOILT[name]
    if contents is not None:
        (folder / name).write_bytes(contents)
    return str(folder / name)


def test_good_images_pass(files, caplog):
    with caplog.at_level(logging.WARNING):
        check = check_images(files)
    np.testing.assert_array_equal(check.good, np.arange(10))
    assert not check.bad
    assert not check.rotated
    assert not caplog.records


@pytest.mark.parametrize("name", SPOILT)
def test_bad_image_is_an_error_that_names_it(files, tmp_path, name):
    bad = spoil(tmp_path, name)
    shown = re.escape(name.encode(errors="backslashreplace").decode())
    with pytest.raises(ValueError, match=f"{shown}: .*{SPOILT[name][1]}") as error:
        check_images([*files[:4], bad, *files[4:]])
    assert "1 of 11" in str(error.value)
    assert 'on_bad_image="skip"' in str(error.value)


def test_skipped_images_are_counted_and_listed(files, tmp_path, caplog):
    bad = [spoil(tmp_path, name) for name in SPOILT]
    paths = [bad[0], *files[:4], *bad[1:3], *files[4:], *bad[3:]]
    with caplog.at_level(logging.WARNING):
        check = check_images(paths, on_bad_image="skip")
    assert [paths[i] for i in check.good] == files
    assert set(check.bad) == set(bad)
    assert "Skipping 11 of 21 images" in caplog.text
    assert all(path.encode(errors="backslashreplace").decode() in caplog.text for path in bad)


def test_a_jpeg_that_decodes_only_at_an_eighth(files, tmp_path):
    huge = tmp_path / "huge.jpg"
    huge.write_bytes(huge_jpeg())
    with pytest.raises(ValueError, match="huge.jpg: too large for TensorFlow"):
        check_images([*files, str(huge)])


def test_twenty_are_named(tmp_path):
    paths = [tmp_path / f"{i:02}.png" for i in range(25)]
    for path in paths:
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="and 5 more") as error:
        check_images([str(path) for path in paths], on_bad_image="skip")
    assert str(paths[19]) in str(error.value)
    assert str(paths[20]) not in str(error.value)


@pytest.mark.parametrize("kind", ["jpg", "png", "webp"])
def test_rotated_images_are_counted(files, tmp_path, caplog, kind):
    for orientation in (1, 6, 8):
        exif = Image.Exif()
        exif[0x0112] = orientation
        files.append(str(tmp_path / f"turned{orientation}.{kind}"))
        Image.fromarray(PIXELS).save(files[-1], exif=exif)
    with caplog.at_level(logging.WARNING):
        assert check_images(files).rotated == 2
    assert len(caplog.records) == 1
    assert "2 of 13 images have an EXIF orientation" in caplog.text
    assert "mogrify -auto-orient" in caplog.text


def turned(path, exif=None):
    """Writes a rotated image to the path, or one with the given bytes as its EXIF data."""
    rotated = Image.Exif()
    rotated[0x0112] = 6
    Image.fromarray(PIXELS).save(path, exif=exif or rotated)
    return str(path)


def test_exif_that_pillow_cannot_read(tmp_path):
    text = b"Comment\0\0" + zlib.compress(bytes(2**21))
    chunk = struct.pack(">I", len(text)) + b"zTXt" + text
    chunk += struct.pack(">I", zlib.crc32(chunk[4:]))
    long_text = tmp_path / "long_text.png"
    long_text.write_bytes(PNG[:33] + chunk + PNG[33:])  # after the header
    short_exif = turned(tmp_path / "short_exif.webp", exif=b"Exif\0\0II*\0")
    check = check_images([str(long_text), short_exif, turned(tmp_path / "turned.jpg")])
    assert len(check.good) == 3
    assert check.rotated == 1


@pytest.mark.parametrize(("limit", "rotated"), [(3000, 1), (1000, 0)])
def test_more_pixels_than_pillow_likes(tmp_path, monkeypatch, limit, rotated):
    # Pillow warns above its limit, and refuses to open the file above twice the limit.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    check = check_images([turned(tmp_path / "large.jpg")])
    assert len(check.good) == 1
    assert check.rotated == rotated


def test_png_is_not_decoded_by_pillow(files, monkeypatch):
    loaded = []
    monkeypatch.setattr(PngImageFile, "load", lambda image: loaded.append(image.filename))
    check_images(files)
    assert not loaded


def test_unknown_choice(files):
    with pytest.raises(ValueError, match='"error" or "skip"; received "ignore"'):
        check_images(files, on_bad_image="ignore")


def test_paths_as_objects(files, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"")
    check = check_images([*map(Path, files), bad], on_bad_image="skip")
    assert len(check.good) == 10 and [*check.bad] == [str(bad)]
    assert [*undecodable([bad, Path(files[0])])] == [str(bad)]
    with pytest.raises(ValueError, match="a list of paths"):
        check_images(files[0])


@pytest.fixture
def reads(monkeypatch):
    """The paths of the graphs that decode: what is read, and how often."""
    found = []
    decodable = image_scan._decodable

    def noted(paths, indices, decode, batch):
        found.extend(paths[i] for i in indices)
        return decodable(paths, indices, decode, batch)

    monkeypatch.setattr(image_scan, "_decodable", noted)
    return found


def test_the_checksum_of_each_good_image(files, tmp_path):
    bad = spoil(tmp_path, "text.jpg")
    check = check_images([files[0], bad, *files[1:]], on_bad_image="skip")
    assert check.checksums.tolist() == [
        hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12] for path in files
    ]


def test_a_good_file_is_read_once(files, reads):
    check_images(files)
    assert sorted(reads) == sorted(files)


def test_a_png_that_is_named_jpg_is_checked_as_a_png(tmp_path, files):
    whole, crc = tmp_path / "whole.jpg", tmp_path / "crc.jpg"
    whole.write_bytes(PNG)
    crc.write_bytes(SPOILT["crc.png"][0])
    jpeg = tmp_path / "jpeg.png"
    jpeg.write_bytes(JPEG)
    paths = [str(whole), str(crc), str(jpeg), *files]
    check = check_images(paths, on_bad_image="skip")
    assert [*check.bad] == [str(crc)]
    assert "Invalid PNG data" in check.bad[str(crc)]
    assert len(check.good) == 12


def test_links_to_one_file_are_read_once(tmp_path, files, reads):
    good, bad = turned(tmp_path / "turned.jpg"), spoil(tmp_path, "truncated.jpg")
    paths = [*files]
    for target in (good, bad):
        for name, link in (("hard", os.link), ("symbolic", os.symlink)):
            paths.append(str(tmp_path / f"{name}_{Path(target).name}"))
            link(target, paths[-1])
    latin = os.fsdecode(os.fsencode(str(tmp_path)) + b"/caf\xe9.jpg")
    os.link(good, latin)
    paths = [latin, *paths, good, bad]
    check = check_images(paths, on_bad_image="skip")
    bad_names = {path for path in paths if path.endswith("truncated.jpg")}
    assert set(check.bad) == bad_names | {latin}
    assert len(bad_names) == 3
    assert check.rotated == 3
    assert check.checksums.tolist()[-1] == check.checksums.tolist()[-2]
    # The bad file is read again for the reason.
    assert len(reads) == len(set(reads)) + 1 == len(files) + 3


def give_all_files(inode, monkeypatch):
    """Makes `os.stat` report one inode number for every file."""
    stat = os.stat

    def numbered(path, **settings):
        found = stat(path, **settings)
        names = ("st_dev", "st_size", "st_mtime_ns")
        return types.SimpleNamespace(st_ino=inode, **{name: getattr(found, name) for name in names})

    monkeypatch.setattr(os, "stat", numbered)


def test_files_of_one_inode_number_but_other_bytes(files, monkeypatch):
    give_all_files(1, monkeypatch)  # as a file system that invents the numbers
    assert len(set(check_images(files).checksums)) == 2  # those of the JPEGs and of the PNGs


def test_files_without_inode_numbers_are_all_read(tmp_path, monkeypatch):
    paths = []
    for number in range(2):  # of the same size and time
        path = tmp_path / f"{number}.bmp"
        Image.fromarray(np.full((8, 8, 3), number, "uint8")).save(path)
        os.utime(path, (1, 1))
        paths.append(str(path))
    give_all_files(0, monkeypatch)
    assert len(set(check_images(paths).checksums)) == 2


@pytest.mark.parametrize("size", [0, 2**17])
@pytest.mark.parametrize("mark", ["exif", "xmp", "none"])
def test_the_orientation_of_small_and_large_jpegs(tmp_path, size, mark):
    path = tmp_path / "photo.jpg"
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6"/></x:xmpmeta>'
    given = {"exif": {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"}}
    given["xmp"] = {"xmp": xmp}
    Image.fromarray(PIXELS).save(path, **given.get(mark, {}))
    path.write_bytes(path.read_bytes() + bytes(size))
    assert check_images([str(path)]).rotated == (mark != "none")


def test_a_file_that_is_a_png_by_name_alone(tmp_path):
    path = tmp_path / "moving.png"
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    frames[0].save(path, "webp", save_all=True, append_images=frames[1:])
    # The fast way for PNGs ends in an operation that crashes on an animated WebP.
    with pytest.raises(tf.errors.InvalidArgumentError, match="no PNG"):
        image_scan._decode_png(tf.constant(path.read_bytes()))
    assert check_images([str(path)]).good.tolist() == [0]
