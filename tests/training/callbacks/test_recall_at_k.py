"""RecallAtK in `fit`: its values, the callbacks after it, its schedule, and bad input."""

import csv
import logging

import keras
import numpy as np
import pytest
import tensorflow as tf

from pa_keras.evaluation.embedder import embed
from pa_keras.layers import Proxies
from pa_keras.losses import ProxyAnchorLoss
from pa_keras.retrieval import retrieval_metrics
from pa_keras.training.callbacks import recall_at_k
from pa_keras.training.callbacks.recall_at_k import RecallAtK, embedding_part

CLASSES = 6


def coloured_images(seed, per_class=8):
    """Noisy 4 x 4 images, each class of its own colour."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(CLASSES, dtype="int32"), per_class)
    colours = np.random.default_rng(99).uniform(40, 215, (CLASSES, 1, 1, 3))
    noise = rng.normal(0, 12, (len(labels), 4, 4, 3))
    return (colours[labels] + noise).astype("float32"), labels


def embedding_model(size=8):
    images = keras.Input((4, 4, 3))
    features = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(images))
    return keras.Model(images, keras.layers.UnitNormalization()(keras.layers.Dense(size)(features)))


def training_model():
    embeddings = embedding_model()
    model = keras.Model(embeddings.input, Proxies(CLASSES, seed=1)(embeddings.output))
    model.compile("adam", loss=ProxyAnchorLoss(num_classes=CLASSES), jit_compile=False)
    return model


def fit(callbacks, epochs=2, model=None, **options):
    images, labels = coloured_images(0)
    model = model or training_model()
    return model, model.fit(
        images, labels, batch_size=24, epochs=epochs, verbose=0, callbacks=callbacks, **options
    )


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


def test_equals_the_metrics_of_the_embedding_model():
    images, labels = coloured_images(1)
    gallery, gallery_labels = coloured_images(2, per_class=5)
    batches = tf.data.Dataset.from_tensor_slices(gallery).batch(7)
    alone = RecallAtK((images, labels))
    against = RecallAtK((images, labels), (batches, gallery_labels), ks=(1, 3), prefix="shop_")
    model, history = fit([alone, against])
    part = embedding_part(model)
    vectors, others = embed(part, [images]), embed(part, [gallery])
    expected = retrieval_metrics(vectors, labels)
    for k in (1, 2, 4, 8):
        name = f"recall_at_{k}"
        np.testing.assert_allclose(history.history[name][-1], expected[name])
    expected = retrieval_metrics(vectors, labels, others, gallery_labels, ks=(1, 3))
    np.testing.assert_allclose(history.history["shop_recall_at_3"][-1], expected["recall_at_3"])
    assert set(history.history) >= {"recall_at_1", "shop_recall_at_1", "shop_recall_at_3", "loss"}


# Keras 3.15 saves its variables in a way that NumPy 2 deprecates.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy")
def test_four_callbacks_after_it_see_the_values(tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="pa_keras")
    best = tmp_path / "best.keras"
    stopping = keras.callbacks.EarlyStopping("recall_at_1", mode="max", patience=2)
    callbacks = [
        RecallAtK(coloured_images(1)),
        keras.callbacks.ModelCheckpoint(best, "recall_at_1", mode="max", save_best_only=True),
        keras.callbacks.CSVLogger(tmp_path / "metrics.csv"),
        keras.callbacks.TensorBoard(tmp_path / "board", write_graph=False),
        stopping,
    ]
    _, history = fit(callbacks, epochs=8)
    recalls = history.history["recall_at_1"]
    assert stopping.best == max(recalls)
    rows = list(csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines()))
    assert [float(row["recall_at_1"]) for row in rows] == recalls
    images, labels = coloured_images(1)
    reloaded = embed(embedding_part(keras.models.load_model(best)), [images])
    np.testing.assert_allclose(retrieval_metrics(reloaded, labels)["recall_at_1"], max(recalls))
    events = b"".join(path.read_bytes() for path in (tmp_path / "board").rglob("events*"))
    assert b"epoch_recall_at_1" in events
    assert caplog.text.count("exact search over 48") == len(recalls)


def test_every_repeats_the_last_values_and_measures_first_and_last(monkeypatch, tmp_path):
    measured = []
    original = RecallAtK._measure

    def counted(self):
        measured.append(len(self.model.history.epoch) + 1)
        return original(self)

    monkeypatch.setattr(RecallAtK, "_measure", counted)
    log = keras.callbacks.CSVLogger(tmp_path / "metrics.csv")
    _, history = fit([RecallAtK(coloured_images(1), every=3), log], epochs=8)
    assert measured == [1, 3, 6, 8]
    recalls = history.history["recall_at_1"]
    assert recalls[1] == recalls[0] and recalls[3] == recalls[4] == recalls[2]
    rows = list(csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines()))
    assert [float(row["recall_at_1"]) for row in rows] == recalls


def test_seconds_add_up_and_a_second_fit_goes_on():
    callback = RecallAtK(coloured_images(1))
    model, _ = fit([callback], epochs=1)
    first, embedder = callback.seconds, callback._embedder
    assert first > 0
    fit([callback], epochs=1, model=model)
    assert callback.seconds > first and callback._embedder is embedder


def test_models_without_proxies_and_given_embedding_models():
    plain = embedding_model()
    assert embedding_part(plain) is plain
    sequential = keras.Sequential([keras.Input((4, 4, 3)), embedding_model(5), Proxies(CLASSES)])
    assert embedding_part(sequential).output_shape == (None, 5)
    nested = keras.Model(plain.input, Proxies(CLASSES)(plain(plain.input)))
    assert embedding_part(nested).output_shape == (None, 8)
    images, labels = coloured_images(1)
    model = training_model()
    given = RecallAtK((images, labels), ks=(1,), embedding_model=plain)
    fit([given], epochs=1, model=model)
    expected = retrieval_metrics(embed(plain, [images]), labels)["recall_at_1"]
    np.testing.assert_allclose(given._values["recall_at_1"], expected)


def test_singletons_are_left_out_and_large_ks_count_the_whole_gallery(caplog):
    caplog.set_level(logging.INFO, logger="pa_keras")
    images, labels = coloured_images(1, per_class=1)
    images, labels = np.concatenate([images, images[:2]]), np.concatenate([labels, labels[:2]])
    _, history = fit([RecallAtK((images, labels), ks=(1, 100))], epochs=1)
    assert history.history["recall_at_1"] == [1.0] == history.history["recall_at_100"]
    assert "4 queries have no right answer and are left out" in caplog.text


def test_a_diverged_model_gives_nan_and_no_error():
    callback = RecallAtK(coloured_images(1))
    model = training_model()
    model.layers[-1].proxies.assign(np.full(model.layers[-1].proxies.shape, np.nan))
    _, history = fit([callback, keras.callbacks.TerminateOnNaN()], epochs=1, model=model)
    assert np.isnan(history.history["recall_at_1"]).all()
    assert callback.note == "not searched: the embeddings are not finite"


def test_the_log_says_how_far_an_approximate_search_may_be_from_the_truth(caplog):
    pytest.importorskip("scann", reason="ScaNN is for Linux x86-64 only")
    caplog.set_level(logging.INFO, logger="pa_keras")
    fit([RecallAtK(coloured_images(1), ks=(1, 4), method="scann")], epochs=1)
    assert (
        "(ScaNN over 48 moved Recall@1 by +0.00 and Recall@4 by +0.00 points on 48 queries that "
        "were also searched exactly; at 95% confidence by at most 0.00 points)"
    ) in caplog.text


def test_an_array_is_embedded_in_batches(monkeypatch):
    monkeypatch.setattr(recall_at_k, "BATCH_SIZE", 5)
    _, history = fit([RecallAtK(coloured_images(1))], epochs=1)
    assert history.history["recall_at_8"][0] > 0.5


IMAGES, LABELS = coloured_images(1)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"queries": IMAGES}, r"queries as a pair \(images, labels\); received ndarray"),
        ({"queries": (IMAGES, LABELS[:3])}, "one label for each .* 48 images and 3 labels"),
        ({"queries": (IMAGES, LABELS * 1.0)}, r"integers of shape \(number,\); received float64"),
        ({"queries": (IMAGES, LABELS[:, None])}, r"received int32 of shape \(48, 1\)"),
        ({"queries": (IMAGES[:6], np.arange(6))}, "right answer in the gallery; received 6"),
        ({"queries": (IMAGES, LABELS), "gallery": (IMAGES, LABELS + 50)}, "received 48 without"),
        ({"queries": (IMAGES, LABELS), "ks": (0, 1)}, r"ks=\(0, 1\)"),
        ({"queries": (IMAGES, LABELS), "every": 0}, "every=0"),
    ],
)
def test_bad_arguments_are_refused_at_once(arguments, message):
    with pytest.raises(ValueError, match=message):
        RecallAtK(**arguments)


def dataset(images):
    return tf.data.Dataset.from_tensor_slices(images)


@pytest.mark.parametrize(
    "images, message",
    [
        (IMAGES[:, :3], r"first batch of its gallery: Expected .*\(None, 4, 4, 3\); received"),
        (dataset(IMAGES), r"received \(4, 4, 3\); batch and resize"),
        (dataset(IMAGES).batch(8).repeat(), "Expected finite gallery .* remove its repeat"),
        (dataset(IMAGES).batch(8).take(0), "at least one batch of images"),
    ],
)
def test_wrong_images_are_refused_before_the_first_step(images, message):
    callback = RecallAtK((IMAGES, LABELS), (images, LABELS))
    with pytest.raises(ValueError, match=message):
        fit([callback])
    assert callback._values == {}


def test_too_few_labels_for_a_dataset_are_refused():
    with pytest.raises(ValueError, match="one label for each of the queries; received 24 images"):
        fit([RecallAtK((dataset(IMAGES[:24]).batch(8), LABELS))])


def test_models_that_give_no_embeddings_are_refused():
    images = keras.Input((4, 4, 3))
    long = keras.Model(images, keras.layers.GlobalAveragePooling2D()(images))
    with pytest.raises(ValueError, match="unit-length rows in queries.*embedding model must give"):
        fit([RecallAtK((IMAGES, LABELS), embedding_model=long)])
    flat = keras.Model(images, keras.layers.Conv2D(2, 3)(images))
    with pytest.raises(ValueError, match=r"received shape \(48, 2, 2, 2\)"):
        fit([RecallAtK((IMAGES, LABELS), embedding_model=flat)])
    with pytest.raises(ValueError, match="one that is not built"):
        embedding_part(keras.Sequential([keras.layers.Dense(2)]))
    proxies = [Proxies(3, name=name)(long(images)) for name in "ab"]
    with pytest.raises(ValueError, match="one Proxies layer in the model; received 2"):
        embedding_part(keras.Model(images, proxies))
