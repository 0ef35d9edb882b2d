"""RecallAtK on the backend that is set, against NumPy: each form of images, and callbacks after it.

KERAS_BACKEND=torch python -m pytest tests/backends/test_recall_at_k_anywhere.py
"""

import csv
import subprocess
import sys

import keras
import numpy as np
import pytest

import pa_keras
from pa_keras import Proxies, ProxyAnchorLoss, RecallAtK
from pa_keras.evaluation import embed
from pa_keras.training import two_rate_adamw

CLASSES = 6


def coloured_images(seed, per_class=8):
    """Noisy 4 x 4 images, each class in a different colour."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(CLASSES, dtype="int32"), per_class)
    colours = np.random.default_rng(99).uniform(40, 215, (CLASSES, 1, 1, 3))
    noise = rng.normal(0, 30, (len(labels), 4, 4, 3))
    return (colours[labels] + noise).astype("float32"), labels


IMAGES, LABELS = coloured_images(1)
KERNEL = np.random.default_rng(5).normal(size=(48, 3)).astype("float32")


def embedder(kernel=KERNEL):
    """X -> W'x / |W'x| of the flattened pixels."""
    images = keras.Input((4, 4, 3))
    dense = keras.layers.Dense(3, use_bias=False)
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(images))
    model = keras.Model(images, keras.layers.UnitNormalization()(dense(flat)))
    dense.kernel.assign(kernel)
    return model


def in_float64(images, kernel=KERNEL):
    vectors = images.reshape(len(images), -1).astype("float64") @ kernel.astype("float64")
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def recall(k, gallery=None, gallery_labels=None):
    """Recall@K of the fixed model, by a double loop."""
    queries, hits = in_float64(IMAGES), []
    vectors = queries if gallery is None else in_float64(gallery)
    labels = LABELS if gallery is None else gallery_labels
    for row, query in enumerate(queries):
        others = [n for n in range(len(vectors)) if gallery is not None or n != row]
        nearest = sorted(others, key=lambda n: -float(query @ vectors[n]))[:k]
        hits.append(any(labels[n] == LABELS[row] for n in nearest))
    return float(np.mean(hits))


def measured(queries, gallery=None, **options):
    callback = RecallAtK(queries, gallery, embedding_model=embedder(), **options)
    return callback.measure_before_training()


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


def test_arrays():
    found = measured((IMAGES, LABELS))
    assert found == {f"recall_at_{k}": pytest.approx(recall(k)) for k in (1, 2, 4, 8)}
    gallery, labels = coloured_images(2, per_class=5)
    found = measured((IMAGES, LABELS), (gallery.astype("uint8"), labels), ks=(1, 3))
    whole = gallery.astype("uint8").astype("float32")
    assert found == {f"recall_at_{k}": pytest.approx(recall(k, whole, labels)) for k in (1, 3)}


class Batches(keras.utils.PyDataset):
    """The images in batches of 7, in an order that changes after each pass if it shuffles."""

    def __init__(self, labels=None, shuffles=False):
        super().__init__()
        self.labels, self.shuffles, self.order = labels, shuffles, np.arange(len(IMAGES))

    def __len__(self):
        return 7

    def __getitem__(self, place):
        rows = self.order[7 * place : 7 * place + 7]
        return IMAGES[rows] if self.labels is None else (IMAGES[rows], self.labels[rows])

    def on_epoch_end(self):
        if self.shuffles:
            self.order = np.random.default_rng(self.order[0]).permutation(len(IMAGES))


def test_py_datasets():
    expected = {"recall_at_1": pytest.approx(recall(1))}
    assert measured(Batches(LABELS, shuffles=True), ks=1) == expected
    assert measured((Batches(), LABELS), ks=1) == expected
    with pytest.raises(ValueError, match="queries in the same order in each pass"):
        measured((Batches(shuffles=True), LABELS))


def test_data_loaders_of_pytorch():
    data = pytest.importorskip("torch.utils.data", reason="PyTorch is not installed")
    import torch

    images, labels = torch.tensor(IMAGES), torch.tensor(LABELS)
    expected = {"recall_at_1": pytest.approx(recall(1))}
    labelled = data.DataLoader(data.TensorDataset(images, labels), batch_size=7, shuffle=True)
    assert measured(labelled, ks=1) == expected
    alone = data.DataLoader(data.TensorDataset(images), batch_size=7)
    assert measured((alone, LABELS), ks=1) == expected
    shuffled = data.DataLoader(data.TensorDataset(images), batch_size=7, shuffle=True)
    with pytest.raises(ValueError, match="queries in the same order in each pass"):
        measured((shuffled, LABELS))


def test_datasets_of_tensorflow():
    tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    batches = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).shuffle(48).batch(7)
    assert measured(batches, ks=1) == {"recall_at_1": pytest.approx(recall(1))}
    with pytest.raises(ValueError, match="Expected finite queries .* Remove its repeat"):
        measured(batches.repeat())


def test_embeddings_equal_float64_and_batches_are_filled_up_where_that_saves_a_compilation():
    traced = []

    class Counted(keras.layers.Layer):
        def call(self, images):
            traced.append(images.shape[0])
            return images

    inputs = keras.Input((4, 4, 3))
    model = keras.Model(inputs, embedder()(Counted()(inputs)))
    traced.clear()
    found = embed(model, [IMAGES[:20], IMAGES[20:40], IMAGES[40:]])
    np.testing.assert_allclose(found, in_float64(IMAGES), atol=1e-5)
    assert found.dtype == np.float32
    if keras.backend.backend() == "jax":
        assert traced == [20]


def test_bad_images_are_refused_before_training():
    with pytest.raises(ValueError, match=r"first batch of its queries: .*\(None, 4, 4, 3\); rec"):
        measured((IMAGES[:, :3], LABELS))
    with pytest.raises(ValueError, match="as a pair .* DataLoader of such batches; received ndarr"):
        RecallAtK(IMAGES)


def training_model():
    inputs = keras.Input((4, 4, 3))
    normal = keras.layers.BatchNormalization()(embedder().layers[1](inputs))
    vectors = keras.layers.Dense(8)(keras.layers.Dropout(0.1)(keras.layers.Flatten()(normal)))
    unit = keras.layers.UnitNormalization()(vectors)
    model = keras.Model(inputs, Proxies(CLASSES, seed=1)(unit))
    model.compile(two_rate_adamw(model, 1e-3, 1e-2), ProxyAnchorLoss(num_classes=CLASSES))
    return model


def fit(callbacks, epochs=4):
    keras.utils.set_random_seed(0)
    model = training_model()
    images, labels = coloured_images(0)
    history = model.fit(
        images, labels, batch_size=16, epochs=epochs, verbose=0, callbacks=callbacks
    )
    return model, history.history


# Keras 3.15 saves variables of TensorFlow in a way that NumPy 2 deprecates.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy")
def test_callbacks_after_it_see_the_values(tmp_path):
    best = tmp_path / "best.keras"
    recall_at_k = RecallAtK((IMAGES, LABELS), ks=(1, 4), map_at_r=True)
    model, history = fit([
        recall_at_k,
        keras.callbacks.ModelCheckpoint(best, "recall_at_1", mode="max", save_best_only=True),
        keras.callbacks.CSVLogger(tmp_path / "metrics.csv"),
        keras.callbacks.EarlyStopping("recall_at_1", mode="max", patience=9),
    ])  # fmt: skip
    recalls = history["recall_at_1"]
    rows = list(csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines()))
    assert [float(row["recall_at_1"]) for row in rows] == recalls
    assert recall_at_k.seconds > 0 and recall_at_k.indices.shape[0] == len(IMAGES)
    saved = embed(pa_keras.load_model(best), [IMAGES])
    assert pa_keras.retrieval_metrics(saved, LABELS)["recall_at_1"] == pytest.approx(max(recalls))


def test_measuring_does_not_change_the_training():
    with_callback, measured_history = fit([RecallAtK((IMAGES, LABELS))])
    without, history = fit([])
    np.testing.assert_allclose(measured_history["loss"], history["loss"], rtol=1e-6)
    for one, other in zip(with_callback.weights, without.weights, strict=True):
        if "seed" not in one.path:
            found, expected = map(keras.ops.convert_to_numpy, (one, other))
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_tensorflow_is_not_imported():
    if keras.backend.backend() == "tensorflow":
        pytest.skip("TensorFlow is the backend")
    code = (
        "import sys; from pa_keras import RecallAtK, load_model, retrieval_metrics;"
        "import pa_keras.training, pa_keras.retrieval, pa_keras.evaluation;"
        "print('tensorflow' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.stdout.strip() == "False", found.stderr
