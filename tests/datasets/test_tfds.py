import errno
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pa_keras.datasets import cub200, load

tfds = pytest.importorskip("tensorflow_datasets")
# mypy takes a name from importorskip for a variable, not for a module: hence the ignores below.

NUM_CLASSES = 5
PER_SPLIT = 2


class TinyCars(tfds.core.GeneratorBasedBuilder):  # type: ignore[name-defined]
    """Two images of each of five classes per split, as JPEG and as PNG, and one unlabelled."""

    VERSION = tfds.core.Version("1.2.3")

    def _info(self):
        features = {
            "image": tfds.features.Image(),
            "label": tfds.features.ClassLabel(names=[f"car {c}" for c in range(NUM_CLASSES)]),
            "bbox": tfds.features.BBoxFeature(),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples("train"), "test": self._generate_examples("test")}

    def _generate_examples(self, split):
        for path in sorted(Path(self.data_dir).parents[2].joinpath("source", split).iterdir()):
            label = int(path.name[0])
            box = tfds.features.BBox(0.0, 0.0, 1.0, 1.0)
            yield path.name, {"image": str(path), "label": label, "bbox": box}
        if split == "test":
            yield "unknown", {"image": str(path), "label": -1, "bbox": box}


class NoLabels(tfds.core.GeneratorBasedBuilder):  # type: ignore[name-defined]
    """A data set without images."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = tfds.features.FeaturesDict({"number": np.int64})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        yield "0", {"number": 0}


class Unlabelled(TinyCars):
    """Images of unknown class, in a split of a usual name."""

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples("train")}

    def _generate_examples(self, split):
        for name, example in super()._generate_examples(split):
            yield name, {**example, "label": -1}


class OddSplits(TinyCars):
    """Splits of unusual names."""

    def _split_generators(self, dl_manager):
        return {"small1": self._generate_examples("train")}


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("PA_KERAS_HOME", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        folder = tmp_path / "source" / split
        folder.mkdir(parents=True)
        for c in range(NUM_CLASSES):
            for suffix in ("jpg", "png"):
                pixels = rng.integers(0, 256, (8, 9, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{c}.{suffix}")
    return str(tmp_path / "tfds")


def test_the_splits_are_merged_and_split_by_class(data_dir, tmp_path, caplog):
    dataset = load("tfds:tiny_cars", data_dir)
    assert dataset.name == "tiny_cars"
    assert dataset.train.class_names == ("car 0", "car 1", "car 2")
    assert dataset.queries.class_names == ("car 3", "car 4")
    assert len(dataset.queries) == 2 * 2 * PER_SPLIT
    assert "1 images have no label" in caplog.text
    for images, first in ((dataset.train, 0), (dataset.queries, 3)):
        for c in range(images.num_classes):
            paths = [p for p, label in zip(images.paths, images.labels, strict=True) if label == c]
            written = sorted(Path(path).read_bytes() for path in paths)
            source = sorted(p.read_bytes() for p in tmp_path.glob(f"source/*/{first + c}.*"))
            assert written == source
            assert sorted(Path(p).suffix for p in paths) == [".jpg", ".jpg", ".png", ".png"]
    assert str(tmp_path / "cache" / "tfds") in dataset.train.paths[0]


def test_the_images_are_written_once(data_dir, monkeypatch):
    first = load("tfds:tiny_cars", data_dir, test_fraction=0.4)
    monkeypatch.setattr(tfds, "builder", None)
    again = load("tfds:tiny_cars", data_dir, test_fraction=0.4)
    assert again.train.paths == first.train.paths


class TwelveBirds(TinyCars):
    """The relevant features of `caltech_birds2011`, whose class names are numbers."""

    def _info(self):
        features = {
            "image": tfds.features.Image(),
            "label": tfds.features.ClassLabel(num_classes=12),
            "label_name": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _generate_examples(self, split):
        path = str(Path(self.data_dir).parents[2] / "source" / split / "0.jpg")
        # Labels are not in order, and the names are in the reverse order of the labels.
        for label in (11, 3, 10, 2, 9, 1, 8, 0, 7, 6, 5, 4):
            name = f"bird_{99 - label}"
            yield f"{label}", {"image": path, "label": label, "label_name": name}


@pytest.fixture
def prepared(data_dir, monkeypatch):
    """Replaces the set of a given name by a prepared tiny builder."""

    def stand_in(tfds_name, builder):
        sets = {tfds_name: builder}
        monkeypatch.setattr(tfds, "builder", lambda name, **_: sets[name](data_dir=data_dir))

    return stand_in


def test_birds_are_in_the_official_order(prepared, monkeypatch):
    prepared("caltech_birds2011", TwelveBirds)
    monkeypatch.setattr(cub200, "COUNTS", {"training": (6, 12), "test": (6, 12)})
    dataset = load("cub200")
    assert dataset.name == "cub200"
    assert dataset.train.class_names == tuple("012345")
    assert dataset.queries.class_names == ("6", "7", "8", "9", "10", "11")
    for images, first in ((dataset.train, 0), (dataset.queries, 6)):
        folders = [int(Path(path).parent.name) for path in images.paths]
        assert folders == (images.labels + first).tolist()


@pytest.mark.parametrize(
    ("name", "tfds_name", "images"),
    [
        ("cub200", "caltech_birds2011", "6 of 100 .* 12 of 5924"),
        ("cars196", "cars196", "12 of 8131"),
    ],
)
def test_the_whole_set_is_to_come_from_there(prepared, tmp_path, name, tfds_name, images):
    prepared(tfds_name, TwelveBirds)
    folder = tmp_path / "cache" / "tfds" / tfds_name
    with pytest.raises(ValueError, match=f"{images} test images .* Delete {folder} and"):
        load(name)


def test_an_unknown_set(data_dir, tmp_path):
    message = (
        "'no_such_set' in .*\n.*--dataset folder.* --dataset tfds:no_such_set --data-dir FOLDER"
    )
    with pytest.raises(OSError, match=message):
        load("tfds:no_such_set", data_dir)
    assert not list((tmp_path / "cache" / "tfds").iterdir())


class Failing:
    def __init__(self, error):
        self.error = error

    def download_and_prepare(self):
        raise self.error


def test_cars_that_cannot_be_downloaded(data_dir, monkeypatch):
    monkeypatch.setattr(tfds, "builder", lambda name, data_dir: Failing(ConnectionError("404")))
    message = (
        "ConnectionError: 404\n.*--dataset cars196 --data-dir .*--dataset tfds:cars196 --data-dir"
    )
    with pytest.raises(OSError, match=message):
        load("cars196")


def test_birds_that_cannot_be_downloaded(data_dir, monkeypatch):
    monkeypatch.setattr(tfds, "builder", lambda name, data_dir: Failing(ImportError("no cv2")))
    message = "no cv2\nGet https://www.vision.caltech.edu/.* --dataset cub200 --data-dir FOLDER"
    with pytest.raises(OSError, match=message):
        load("cub200")


def test_a_disk_that_fills_up_while_downloading(data_dir, monkeypatch):
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(tfds, "builder", lambda name, data_dir: Failing(full))
    message = "No space left on device\nFree some space.*--dataset tfds:cars196 --data-dir FOLDER"
    with pytest.raises(OSError, match=message) as caught:
        load("cars196")
    assert "gone" not in str(caught.value)


def test_a_set_without_images_and_labels(data_dir):
    with pytest.raises(ValueError, match="'no_labels'; received number"):
        load("tfds:no_labels", data_dir)


@pytest.mark.parametrize(("name", "splits"), [("unlabelled", "train"), ("odd_splits", "small1")])
def test_a_set_without_labelled_images_is_not_cached(data_dir, tmp_path, name, splits):
    for _ in range(2):
        with pytest.raises(ValueError, match=f"'{name}'; received none; its splits are {splits}"):
            load(f"tfds:{name}", data_dir)
    assert not list((tmp_path / "cache" / "tfds").iterdir())


def test_images_that_were_deleted_from_the_cache(data_dir, tmp_path):
    Path(load("tfds:tiny_cars", data_dir).train.paths[0]).unlink()
    with pytest.raises(FileNotFoundError, match="Delete .*tfds.*; it is written again"):
        load("tfds:tiny_cars", data_dir)
