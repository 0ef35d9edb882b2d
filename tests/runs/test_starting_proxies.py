"""Proxies that start from class means: their values, and runs that are stopped and resumed."""

import os
import signal

import keras
import numpy as np
import pytest

from pa_keras import fit
from pa_keras.config import FitConfig
from pa_keras.pipelines import evaluation_batches
from pa_keras.runs import starting_proxies, train
from pa_keras.runs.build import build, make_strategy
from pa_keras.runs.loss import resolved
from pa_keras.runs.starting_proxies import class_means, start_proxies
from pa_keras.training.callbacks.preemption import Stopping

pytestmark = pytest.mark.usefixtures("float32_policy")

SMALL = """
model: {backbone: conv4, weights: null, embedding_size: 8, proxies_init: class_means}
data: {image_size: 24, crop_fraction: 0.9}
augmentation: {image_size: 16}
batches: {batch_size: 6}
optimizer: {learning_rate: 0.001}
training: {epochs: 2, selection: last}
logging: {pictures: false}
"""


@pytest.fixture
def arguments(photos, tmp_path):
    (tmp_path / "small.yaml").write_text(SMALL)
    return [f"--config={tmp_path}/small.yaml", "--dataset=folder", f"--data-dir={photos}"]


@pytest.fixture
def make_run(arguments):
    """A function from further arguments to a run that is not trained yet."""

    def make(*more):
        parser = fit.cli.make_parser(FitConfig, "fit", "")
        config, _ = fit.cli.parse(parser, FitConfig, [*arguments, *more])
        return build(resolved(config), make_strategy(config.training))

    return make


@pytest.mark.parametrize("seed", range(20))
def test_class_means_equal_a_double_loop(seed):
    rng = np.random.default_rng(seed)
    centers, num_classes = int(rng.integers(1, 4)), 5
    labels = rng.permutation(np.concatenate([np.arange(num_classes), rng.integers(0, 5, 8)]))
    embeddings = rng.normal(size=(len(labels), 3))
    found = class_means(embeddings, labels, centers)
    for label in range(num_classes):
        own = [x for x, y in zip(embeddings, labels, strict=True) if y == label]
        for center in range(centers):
            part = [x for i, x in enumerate(own) if i % centers == center] or own
            mean = sum(part) / len(part)
            expected = mean / np.sqrt(sum(v * v for v in mean))
            np.testing.assert_allclose(found[label, center], expected, atol=1e-12)


def test_proxies_start_as_long_as_random_ones_in_the_direction_of_the_class_means(make_run):
    run = make_run()
    start_proxies(run)
    proxies = run.model.get_layer("proxies").get_weights()[0]
    embedder, train = run.model.get_layer("embedding_model"), run.data.dataset.train
    assert proxies.shape == (train.num_classes, 8)
    for label in range(train.num_classes):
        paths = [p for p, y in zip(train.paths, train.labels, strict=True) if y == label]
        # The size is that of the training, the preprocessing that of the evaluation.
        images = evaluation_batches(paths, batch_size=9, image_size=16, crop_fraction=0.9)
        mean = embedder.predict(images, verbose=0).mean(0)
        length = np.sqrt(2 * 8 / train.num_classes)
        np.testing.assert_allclose(proxies[label], length * mean / np.linalg.norm(mean), atol=1e-5)


def test_large_classes_are_sampled_at_equal_distances(make_run, monkeypatch):
    seen = []
    monkeypatch.setattr(starting_proxies, "MOST_PER_CLASS", 3)
    real = starting_proxies.make_evaluation_batches
    monkeypatch.setattr(
        starting_proxies,
        "make_evaluation_batches",
        lambda config, images, *a, **k: seen.extend(images.paths) or real(config, images, *a, **k),
    )
    run = make_run()
    start_proxies(run)
    assert [p.rpartition("/")[2] for p in seen] == ["0.png", "2.png", "4.png"] * (len(seen) // 3)
    assert len({p.rpartition("/")[0] for p in seen}) == run.data.dataset.train.num_classes


def test_several_centers_start_from_parts_of_their_class(make_run):
    run = make_run("--loss=soft_triple", "--loss_options.centers_per_class=2")
    before = run.model.get_layer("proxies").get_weights()[0]
    start_proxies(run)
    proxies = run.model.get_layer("proxies").get_weights()[0]
    assert proxies.shape == before.shape == (5, 2, 8)
    apart = np.linalg.norm(proxies[:, 0] - proxies[:, 1], axis=-1)
    assert (apart > 1e-4).all(), "centers that start together stay together"


def test_a_class_that_label_noise_left_without_images_keeps_its_random_proxy(make_run):
    run = make_run()
    train = run.data.dataset.train
    others = train.take(train.labels != 1)
    object.__setattr__(run.data.dataset, "train", others)
    before = run.model.get_layer("proxies").get_weights()[0]
    start_proxies(run)
    after = run.model.get_layer("proxies").get_weights()[0]
    changed = (before != after).any(1)
    assert changed.tolist() == [label != 1 for label in range(others.num_classes)]


def test_a_pair_loss_has_no_proxies_to_start(arguments, tmp_path):
    with pytest.raises(SystemExit) as stopped:
        fit.main([*arguments, "--loss=triplet", f"--run-dir={tmp_path}/run"])
    assert "Expected a proxy loss for model.proxies_init=class_means" in str(stopped.value.code)
    assert not (tmp_path / "run").exists()


def test_a_resumed_run_does_not_embed_again_and_ends_alike(arguments, tmp_path, monkeypatch):
    calls, done = [], []
    monkeypatch.setattr(train, "start_proxies", lambda run: calls.append(1) or start_proxies(run))
    fit.main([*arguments, f"--run-dir={tmp_path}/whole"])

    def stop(self, batch, logs=None, real=Stopping.on_train_batch_end):
        if (self.progress.epoch, self.progress.step) == (0, 2) and not done:
            done.append(os.kill(os.getpid(), signal.SIGTERM))
        real(self, batch, logs)

    monkeypatch.setattr(Stopping, "on_train_batch_end", stop)
    with pytest.raises(SystemExit):
        fit.main([*arguments, f"--run-dir={tmp_path}/parts"])
    fit.main([f"--run-dir={tmp_path}/parts", "--resume"])
    assert len(calls) == 2, "once for each run"
    name = "epoch-0003-step-000000.npz"
    with (
        np.load(tmp_path / "whole" / "state" / name) as whole,
        np.load(tmp_path / "parts" / "state" / name) as parts,
    ):
        for key in whole.files:
            np.testing.assert_array_equal(whole[key], parts[key])
    keras.saving.load_model(tmp_path / "parts" / "best.keras", compile=False)
