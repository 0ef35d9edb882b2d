"""The files for the projector, read back directly and by TensorBoard."""

import json

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing import plugin_event_multiplexer
from tensorboard.plugins import base_plugin
from tensorboard.plugins.projector import projector_plugin
from werkzeug import test as werkzeug_test
from werkzeug.wrappers import Response

from pa_keras.datasets import Images
from pa_keras.evaluation import projector


@pytest.fixture
def images(tmp_path):
    """Five files, each of a different grey; the second is wide."""
    paths = []
    for number in range(5):
        paths.append(str(tmp_path / f"{number}.png"))
        size = (100, 50) if number == 1 else (100, 100)
        Image.new("RGB", size, (40 * number,) * 3).save(paths[-1])
    return Images(tuple(paths), np.array([0, 0, 1, 1, 1]), ("a\tb", "c"))


@pytest.fixture
def folder(images, tmp_path):
    vectors = np.arange(15, dtype="float32").reshape(5, 3) / 7
    right = np.array([True, False, True, True, False])
    projector.write_projector(tmp_path / "projector", images, vectors, right)
    return tmp_path / "projector"


def test_vectors_and_metadata(folder, images):
    vectors = np.loadtxt(folder / "tensors.tsv", delimiter="\t")
    np.testing.assert_allclose(vectors, np.arange(15).reshape(5, 3) / 7, rtol=1e-5)
    header, *rows = [line.split("\t") for line in (folder / "metadata.tsv").read_text().split("\n")]
    assert header == ["class", "nearest neighbour", "path"] and rows.pop() == [""]
    assert [row[0] for row in rows] == ["a b", "a b", "c", "c", "c"]
    assert [row[1] for row in rows] == ["right", "wrong", "right", "right", "wrong"]
    assert tuple(row[2] for row in rows) == images.paths


def test_the_sprite_is_row_by_row(folder):
    side = projector.THUMBNAIL_SIZE
    with Image.open(folder / "sprite.png") as sprite:
        assert sprite.size == (3 * side, 3 * side)
        middles = [sprite.getpixel(((n % 3) * side + 24, (n // 3) * side + 24)) for n in range(9)]
        assert middles == [(40 * n,) * 3 for n in range(5)] + [(255,) * 3] * 4
        assert sprite.getpixel((side + 24, 2)) == (255,) * 3, "above the wide one"


def test_tensorboard_opens_it(folder):
    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    context = base_plugin.TBContext(logdir=str(folder), multiplexer=multiplexer)
    plugin = projector_plugin.ProjectorPlugin(context)
    apps = plugin.get_plugin_apps()

    def get(route, **query):
        return werkzeug_test.Client(apps[route], Response).get("/", query_string=query)

    (run,) = json.loads(get("/runs").data)
    info = json.loads(get("/info", run=run).data)["embeddings"][0]
    assert info["tensorShape"] == [5, 3]
    assert info["sprite"]["singleImageDim"] == [projector.THUMBNAIL_SIZE] * 2
    name = info["tensorName"]
    vectors = np.frombuffer(get("/tensor", run=run, name=name).data, "float32")
    np.testing.assert_allclose(vectors, np.arange(15) / 7, rtol=1e-5)
    assert get("/metadata", run=run, name=name).data == (folder / "metadata.tsv").read_bytes()
    assert get("/sprite_image", run=run, name=name).data == (folder / "sprite.png").read_bytes()


@pytest.mark.parametrize("number", [0, projector.MOST_IMAGES + 1])
def test_a_sprite_has_room_for_so_many(number):
    with pytest.raises(ValueError, match=f"8192 x 8192 pixels at most; received {number:,}"):
        projector.expect_sprite(number)
    projector.expect_sprite(projector.MOST_IMAGES)
    assert projector.MOST_IMAGES * projector.THUMBNAIL_SIZE**2 <= projector.SPRITE_SIZE**2


def test_nothing_is_overwritten(folder, images):
    with pytest.raises(FileExistsError):
        projector.write_projector(folder, images, np.zeros((5, 3)), np.zeros(5, bool))
