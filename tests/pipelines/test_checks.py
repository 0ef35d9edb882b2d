"""Every kind of bad file is named; EXIF orientations are counted."""

import logging

import numpy as np
import pytest
from PIL import Image

from pa_keras.pipelines import check_images

PIXELS = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)


@pytest.fixture
def files(tmp_path):
    """Ten good images, by their names."""
    paths = [tmp_path / f"good{i}.{kind}" for i in range(5) for kind in ("jpg", "png")]
    for path in paths:
        Image.fromarray(PIXELS).save(path)
    return [str(path) for path in paths]


def spoil(folder, kind):
    path = folder / f"{kind}.jpg"
    Image.fromarray(PIXELS).save(path)
    whole = path.read_bytes()
    contents = {
        "zero-byte": b"",
        "truncated": whole[: len(whole) // 2],
        "corrupt": whole[:2] + bytes(200) + whole[202:],
        "text": b"<html>404 Not Found</html>",
    }
    if kind == "missing":
        path.unlink()
    else:
        path.write_bytes(contents[kind])
    return str(path)


REASONS = {
    "zero-byte": "empty",
    "truncated": "Invalid JPEG data",
    "corrupt": "Invalid JPEG data|JPEG",
    "text": "Unknown image file format",
    "missing": "No such file",
}


def test_good_images_pass(files, caplog):
    with caplog.at_level(logging.WARNING):
        check = check_images(files)
    np.testing.assert_array_equal(check.good, np.arange(10))
    assert not check.bad
    assert not check.rotated
    assert not caplog.records


@pytest.mark.parametrize("kind", REASONS)
def test_bad_image_is_an_error_that_names_it(files, tmp_path, kind):
    bad = spoil(tmp_path, kind)
    with pytest.raises(ValueError, match=f"{kind}.jpg: .*({REASONS[kind]})") as error:
        check_images([*files[:4], bad, *files[4:]])
    assert "1 of 11" in str(error.value)
    assert 'on_bad_image="skip"' in str(error.value)


def test_skipped_images_are_counted_and_listed(files, tmp_path, caplog):
    bad = [spoil(tmp_path, kind) for kind in REASONS]
    paths = [bad[0], *files[:4], *bad[1:3], *files[4:], *bad[3:]]
    with caplog.at_level(logging.WARNING):
        check = check_images(paths, on_bad_image="skip")
    assert [paths[i] for i in check.good] == files
    assert set(check.bad) == set(bad)
    assert "Skipping 5 of 15 images" in caplog.text
    assert all(path in caplog.text for path in bad)


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


def test_unknown_choice(files):
    with pytest.raises(ValueError, match='"error" or "skip"; received "ignore"'):
        check_images(files, on_bad_image="ignore")
