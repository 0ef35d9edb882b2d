import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pa_keras.datasets import _glyph_alphabet as alphabet
from pa_keras.datasets import glyphs
from pa_keras.datasets._glyph_drawing import Distortion, draw
from pa_keras.datasets.glyphs import load_glyphs

SMALL = {"num_characters": 6, "images_per_character": 3}


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("PA_KERAS_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def every_character(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PA_KERAS_HOME", str(tmp_path_factory.mktemp("home")))
        yield load_glyphs(images_per_character=2)


def pixels(images):
    return np.stack([np.asarray(Image.open(path)) for path in images.paths])


@pytest.mark.parametrize(
    "look_alikes", ["AΑА", "BΒВ", "oOоОοΟօՕ", "cCсСϲϹ", "sSѕЅ", "lIІӀ", "HΗНʜ", "xXхХ", "gɡ", "юЮ"]
)
def test_one_of_each_group_of_look_alikes_is_kept(look_alikes):
    assert set(look_alikes) <= set(alphabet.common_letters()) | set("ϲϹ")
    assert len(set(look_alikes) & set(alphabet.characters())) == 1


def test_no_two_characters_share_an_outline():
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    font = FontProperties(fname=str(alphabet.path("DejaVuSans.ttf")))
    outlines = set()
    drawn = [c for c in alphabet.characters() if c in alphabet.covered("DejaVuSans.ttf")]
    for character in drawn:
        points = TextPath((0, 0), character, prop=font).vertices
        points = (points - points.min(axis=0)) / np.ptp(points, axis=0)
        outlines.add(points.round(3).tobytes())
    assert len(outlines) == len(drawn) > 250


def test_characters_are_plain_letters_of_many_fonts_and_scripts(every_character):
    characters = alphabet.characters()
    assert set("ABEGgdßЖΨԶფ") <= set(characters)
    assert 250 < len(characters) < 320
    for character in characters:
        assert unicodedata.category(character) in ("Lu", "Ll", "Lo")
        assert unicodedata.normalize("NFKD", character) == character
        assert sum(character in alphabet.covered(font) for font in alphabet.FONTS) >= 12
    for images in (every_character.train, every_character.queries):
        scripts = {unicodedata.name(character).split()[0] for character in images.class_names}
        assert {"LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "GEORGIAN"} <= scripts


def test_train_and_test_share_no_character(every_character):
    train, test = every_character.train, every_character.queries
    assert every_character.gallery is None
    assert not set(train.class_names) & set(test.class_names)
    assert {*train.class_names, *test.class_names} == set(alphabet.characters())
    assert 0 <= train.num_classes - test.num_classes <= 1
    for images in (train, test):
        assert np.bincount(images.labels).tolist() == [2] * images.num_classes


def test_every_image_shows_something(every_character):
    for images in (every_character.train, every_character.queries):
        luma = pixels(images) @ [0.299, 0.587, 0.114]
        assert luma.shape[1:] == (32, 32)
        assert np.ptp(np.percentile(luma, [1, 99], axis=(1, 2)), axis=0).min() > 40


@pytest.mark.parametrize("number", range(20))
def test_all_the_ink_is_in_the_image_and_stands_out(number):
    from scipy import ndimage

    distortion = Distortion(noise=0.0, blur=0.0)

    def luma(ink):
        image = draw(ink, 64, distortion, np.random.default_rng([number]))
        return np.asarray(image) @ [0.299, 0.587, 0.114]

    corners = np.zeros((40, 30), np.uint8)
    corners[:8, :8] = corners[:8, -8:] = corners[-8:, :8] = corners[-8:, -8:] = 255
    without_ink = luma(Image.new("L", (30, 40)))
    difference = np.abs(luma(Image.fromarray(corners)) - without_ink)
    marks, count = ndimage.label(difference >= distortion.contrast - 1)
    assert count == 4
    areas = np.bincount(marks.ravel())[1:]
    assert areas.min() > 0.7 * areas.max()


def test_the_seed_decides_every_pixel(monkeypatch, tmp_path):
    monkeypatch.setenv("PA_KERAS_HOME", str(tmp_path / "first"))
    first, other = load_glyphs(seed=0, **SMALL), load_glyphs(seed=1, **SMALL)
    monkeypatch.setenv("PA_KERAS_HOME", str(tmp_path / "second"))
    second = load_glyphs(seed=0, **SMALL)
    np.testing.assert_array_equal(pixels(first.train), pixels(second.train))
    assert first.train.class_names == other.train.class_names
    assert (pixels(first.train) != pixels(other.train)).any(axis=(1, 2, 3)).all()


def test_images_of_a_character_differ(every_character):
    first, second = pixels(every_character.train).reshape(-1, 2, 32 * 32 * 3).swapaxes(0, 1)
    assert (first != second).any(axis=1).all()


def test_a_second_call_draws_nothing(home, monkeypatch):
    first = load_glyphs(**SMALL)
    monkeypatch.setattr(glyphs, "draw", None)
    assert load_glyphs(**SMALL).train.paths == first.train.paths
    assert all(Path(path).is_relative_to(home) for path in first.train.paths)


def test_other_settings_do_not_reuse_the_images(home):
    small, large = load_glyphs(**SMALL), load_glyphs(**SMALL, image_size=48)
    assert pixels(small.train).shape == (9, 32, 32, 3)
    assert pixels(large.train).shape == (9, 48, 48, 3)


@pytest.mark.parametrize("package", ["matplotlib", "pillow"])
def test_other_fonts_or_another_pillow_do_not_reuse_the_images(home, monkeypatch, package):
    first = load_glyphs(**SMALL)
    version = glyphs.version
    monkeypatch.setattr(glyphs, "version", lambda p: "99" if p == package else version(p))
    assert not set(load_glyphs(**SMALL).train.paths) & set(first.train.paths)


def test_images_that_were_deleted(home):
    path = Path(load_glyphs(**SMALL).train.paths[0])
    path.unlink()
    folder = path.parents[1]
    with pytest.raises(FileNotFoundError, match=f"Delete {folder}; it is written again"):
        load_glyphs(**SMALL)


def test_an_interrupted_drawing_is_done_again(home, monkeypatch):
    calls = iter(range(7))

    def interrupted(*arguments):
        if next(calls) == 6:
            raise KeyboardInterrupt
        return draw(*arguments)

    monkeypatch.setattr(glyphs, "draw", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load_glyphs(**SMALL)
    assert not list(home.iterdir())
    monkeypatch.setattr(glyphs, "draw", draw)
    dataset = load_glyphs(**SMALL)
    assert len(dataset.train) == len(dataset.queries) == 9


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"image_size": 8}, "image_size of at least 16; received 8"),
        ({"images_per_character": 1}, "images_per_character of at least 2; received 1"),
        ({"num_characters": 3}, "num_characters of at least 4; received 3"),
        ({"seed": -1}, "seed of at least 0; received -1"),
    ],
)
def test_settings_out_of_range(home, setting, message):
    with pytest.raises(ValueError, match=f"Expected {message}. Give a larger one."):
        load_glyphs(**setting)
    assert not list(home.iterdir())
