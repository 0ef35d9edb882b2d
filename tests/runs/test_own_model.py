"""Starting a run from a model of one's own: weights, proxies by class name, and what is refused."""

import logging
import shutil
import zipfile

import keras
import numpy as np
import pytest
from PIL import Image

from pa_keras import fit
from pa_keras.config import FitConfig
from pa_keras.datasets import Dataset, Images
from pa_keras.models import embedding_model
from pa_keras.models.trained_classes import TrainedClasses, read_classes, write_classes
from pa_keras.runs.build import build, make_strategy
from pa_keras.runs.data import RunData
from pa_keras.runs.known_classes import kept_proxies, warn_of_known_classes
from pa_keras.runs.loss import resolved
from pa_keras.runs.own_model import load_like, own_model
from pa_keras.runs.starting_proxies import start_proxies

pytestmark = pytest.mark.usefixtures("float32_policy")

SMALL = """
model: {backbone: conv4, weights: null, embedding_size: 8, batch_norm: train}
data: {image_size: 16, crop_fraction: 1.0}
batches: {batch_size: 6}
training: {epochs: 1, selection: last}
logging: {pictures: false}
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Five classes of a set of ten, and the folder of a run that was trained on them."""
    root, rng = tmp_path_factory.mktemp("trained"), np.random.default_rng(0)
    for number in range(10):
        for image in range(4):
            path = root / "photos" / ("train" if number < 5 else "test") / f"class {number}"
            path.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(40, 215, 3) + rng.integers(-30, 30, (20, 24, 3))
            Image.fromarray(pixels.astype("uint8")).save(path / f"{image}.png")
    (root / "small.yaml").write_text(SMALL)
    policy = keras.config.dtype_policy()
    fit.main([*arguments(root), f"--run-dir={root}/run"])
    keras.config.set_dtype_policy(policy)
    return root


def arguments(root, photos=None):
    data = photos or root / "photos"
    return [f"--config={root}/small.yaml", "--dataset=folder", f"--data-dir={data}"]


def made(root, *more, photos=None):
    """A run that is not trained yet."""
    parser = fit.cli.make_parser(FitConfig, "fit", "")
    config, _ = fit.cli.parse(parser, FitConfig, [*arguments(root, photos), *more])
    return build(resolved(config), make_strategy(config.training))


def refusal(root, *more):
    with pytest.raises(SystemExit) as stopped:
        fit.main([*arguments(root), *more, "--dry-run"])
    return str(stopped.value.code)


def test_a_run_keeps_its_classes_and_proxies_in_a_file_that_keras_opens(trained):
    file = trained / "run" / "best.keras"
    known = read_classes(file)
    assert known.names == tuple(f"class {n}" for n in range(5))
    with np.load(trained / "run" / "state" / "epoch-0002-step-000000.npz") as checkpoint:
        last = [checkpoint[name] for name in checkpoint.files if name.startswith("model/")][-1]
    np.testing.assert_array_equal(known.proxies, last)
    assert keras.saving.load_model(file, compile=False).output_shape == (None, 8)


@pytest.mark.parametrize(("source", "size"), [("run", 16), ("run/best.keras", 24)])
def test_a_run_from_a_run_has_its_weights_and_proxies(trained, source, size):
    run = made(trained, f"--model.weights={trained}/{source}", f"--data.image_size={size}",
               "--augmentation.image_size=16")  # fmt: skip
    start_proxies(run)
    before = keras.saving.load_model(trained / "run" / "best.keras", compile=False)
    assert run.embedder.input_shape == (None, size, size, 3)
    for a, b in zip(run.embedder.get_weights(), before.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    known = read_classes(trained / "run" / "best.keras")
    np.testing.assert_array_equal(run.model.get_layer("proxies").get_weights()[0], known.proxies)


def test_new_classes_start_from_class_means_and_old_ones_are_dropped(trained, tmp_path, caplog):
    photos = tmp_path / "photos"
    shutil.copytree(trained / "photos", photos)
    (photos / "train" / "class 1").rename(photos / "train" / "a new class")
    shutil.rmtree(photos / "train" / "class 4")
    caplog.set_level(logging.INFO)
    run = made(trained, f"--model.weights={trained}/run", photos=photos)
    start_proxies(run)
    assert "3 of 4 classes keep the proxies of" in caplog.text
    assert "of its 2 other classes are dropped" in caplog.text
    proxies = run.model.get_layer("proxies").get_weights()[0]
    known = read_classes(trained / "run" / "best.keras")
    names = run.data.dataset.train.class_names
    assert names == ("a new class", "class 0", "class 2", "class 3")
    np.testing.assert_array_equal(proxies[1:], known.proxies[[0, 2, 3]])
    # Loaded by Keras alone, and images prepared one at a time.
    model = keras.saving.load_model(trained / "run" / "best.keras", compile=False)
    files = sorted((photos / "train" / "a new class").glob("*.png"))
    pixels = [keras.utils.load_img(f).resize((19, 16), Image.Resampling.BILINEAR) for f in files]
    mean = model.predict(np.stack([np.float32(p)[:, 1:17] for p in pixels]), verbose=0).mean(0)
    cosine = proxies[0] @ mean / np.linalg.norm(mean) / np.linalg.norm(proxies[0])
    assert cosine > 0.999
    assert np.linalg.norm(proxies[0]) == pytest.approx(np.sqrt(2 * 8 / 4), rel=1e-5)


def test_a_run_from_a_run_trains_and_resumes(trained, tmp_path):
    more = [f"--model.weights={trained}/run", f"--run-dir={tmp_path}/next", "--training.epochs=2"]
    fit.main([*arguments(trained), *more])
    fit.main([f"--run-dir={tmp_path}/next", "--resume", "--training.epochs=3"])
    assert read_classes(tmp_path / "next" / "best.keras").proxies.shape == (5, 8)


def test_another_embedding_size_or_backbone_is_refused(trained):
    weights = f"--model.weights={trained}/run"
    message = refusal(trained, weights, "--model.embedding_size=16")
    assert "Expected model.embedding_size=8, as in" in message
    assert "received 16. Give --model.embedding_size 8" in message
    message = refusal(trained, weights, "--model.backbone=mobilenetv2", "--data.image_size=32")
    assert "to have the backbone mobilenetv2" in message and "config.yaml" in message


def test_models_that_are_not_there(trained, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no file .*gone\.keras. Check the path"):
        own_model(str(tmp_path / "gone.keras"))
    with pytest.raises(FileNotFoundError, match="Expected the folder of a run"):
        own_model(str(tmp_path))
    (tmp_path / "config.yaml").touch()
    with pytest.raises(FileNotFoundError, match="Continue that run with --resume first"):
        own_model(str(tmp_path))
    assert own_model(None) is own_model("imagenet") is own_model("resnet50.pth") is None
    (tmp_path / "bad.keras").write_text("no")
    assert "is not: it is not a zip archive" in refusal(
        trained, f"--model.weights={tmp_path}/bad.keras"
    )


def test_a_network_with_another_scaling_of_pixels_is_not_mistaken(tmp_path):
    """Keras' EfficientNets scale pixels once more with ImageNet weights; no weight shows it."""

    def network(weights, scaled):
        images = keras.Input((8, 8, 3))
        x = keras.layers.Rescaling(1 / 255)(images)
        x = keras.layers.Rescaling(2.0)(x) if scaled else x
        x = keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(x))
        asked.append(weights)
        return keras.Model(images, x)

    asked = []
    trained = network("imagenet", True)
    trained.save(tmp_path / "own.keras")
    asked.clear()
    model = load_like(
        tmp_path / "own.keras", lambda w: network(w, w == "imagenet"), "efficientnetb0", 4
    )
    assert asked == [None, "imagenet"]
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3)).astype("float32")
    np.testing.assert_array_equal(model(pixels), trained(pixels))
    with pytest.raises(ValueError, match="to have the backbone conv4"):
        load_like(tmp_path / "own.keras", lambda w: network(w, False), "conv4", 4)


def test_classes_in_a_file(tmp_path):
    model = embedding_model("conv4", 4, (16, 16), weights=None)
    model.save(tmp_path / "plain.keras")
    assert read_classes(tmp_path / "plain.keras").names == ()
    for number, proxies in enumerate([None, np.ones((2, 3, 4), np.float32)]):
        file = shutil.copy(tmp_path / "plain.keras", tmp_path / f"{number}.keras")
        write_classes(file, TrainedClasses(("Ärger", "b c"), proxies))
        found = read_classes(file)
        assert found.names == ("Ärger", "b c")
        assert (found.proxies is None) == (proxies is None)
        with zipfile.ZipFile(file) as archive:
            assert archive.testzip() is None
        keras.saving.load_model(file, compile=False)


def test_proxies_with_another_number_of_centers_are_not_kept():
    known = TrainedClasses(("a", "b"), np.zeros((2, 3, 4)))
    assert list(kept_proxies(known, ("b", "c"), (3, 4))) == [0]
    assert kept_proxies(known, ("b", "c"), (4,)) == {}
    assert kept_proxies(TrainedClasses(("a",), None), ("a",), (4,)) == {}


def test_names_that_collide_in_case_and_test_classes_that_were_trained_on(caplog, tmp_path):
    def images(*names):
        labels = np.repeat(np.arange(len(names)), 2)
        return Images(tuple(f"/{i}.jpg" for i in range(len(labels))), labels, names)

    known = TrainedClasses(("Audi", "BMW", "VW", "Fiat", "3"), None)
    train, held_out = images("audi", "bmw", "BMW", "03"), images("VW", "Opel")
    data = RunData(
        Dataset("own", train, images("Fiat", "Seat")), Dataset("held out", train, held_out), {}, {}
    )
    warn_of_known_classes(known, data, tmp_path / "best.keras")
    first, test, selection = caplog.messages
    assert first.startswith("2 classes have almost the name of a class")
    assert "'03', '3'" in first and "'Audi', 'audi'" in first
    assert "1 of 2 test classes" in test and "'Fiat'" in test
    assert "1 of 2 held-out classes" in selection and "'VW'" in selection
