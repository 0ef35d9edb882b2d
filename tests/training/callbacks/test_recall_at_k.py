"""RecallAtK in `fit`: its values, the callbacks after it, its schedule, and bad input."""

import csv
import importlib.util
import logging

import keras
import numpy as np
import pytest
import tensorflow as tf

from pa_keras.evaluation.embedder import embed
from pa_keras.layers import Proxies
from pa_keras.losses import ProxyAnchorLoss
from pa_keras.retrieval import retrieval_metrics
from pa_keras.training.callbacks import image_batches
from pa_keras.training.callbacks.recall_at_k import RecallAtK
from pa_keras.training.embedding_part import embedding_part

CLASSES = 6


def coloured_images(seed, per_class=8):
    """Noisy 4 x 4 images, each class in a different colour."""
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

    def counted(self, embedder):
        measured.append(len(self.model.history.epoch) + 1)
        return original(self, embedder)

    monkeypatch.setattr(RecallAtK, "_measure", counted)
    log = keras.callbacks.CSVLogger(tmp_path / "metrics.csv")
    _, history = fit([RecallAtK(coloured_images(1), every=3), log], epochs=8)
    assert measured == [1, 3, 6, 8]
    recalls = history.history["recall_at_1"]
    assert recalls[1] == recalls[0] and recalls[3] == recalls[4] == recalls[2]
    rows = list(csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines()))
    assert [float(row["recall_at_1"]) for row in rows] == recalls


def test_measuring_before_training_changes_no_later_measurement(caplog):
    caplog.set_level(logging.INFO, logger="pa_keras")
    images, labels = coloured_images(1)
    callback = RecallAtK((images, labels), every=3, embedding_model=embedding_model())
    before = callback.measure_before_training()
    expected = retrieval_metrics(embed(callback.embedding_model, [images]), labels)
    np.testing.assert_allclose(before["recall_at_1"], expected["recall_at_1"])
    assert callback.seconds > 0 and "Before training: recall_at_1 " in caplog.text
    callback.set_params({"epochs": 9})
    for epoch in range(3):
        callback.on_epoch_end(epoch, logs := {})
        assert logs == before
    assert [epoch for epoch in (1, 2, 3) if f"Epoch {epoch}: " in caplog.text] == [1, 3]


def test_measuring_before_training_needs_the_embedding_model():
    with pytest.raises(ValueError, match="Expected an embedding_model to measure before fit"):
        RecallAtK(coloured_images(1)).measure_before_training()


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
    if importlib.util.find_spec("scann") is None:
        pytest.skip("ScaNN is for Linux x86-64 only")
    caplog.set_level(logging.INFO, logger="pa_keras")
    fit([RecallAtK(coloured_images(1), ks=(1, 4), method="scann")], epochs=1)
    assert (
        "(ScaNN over 48 moved Recall@1 by +0.00 and Recall@4 by +0.00 points on 48 queries that "
        "were also searched exactly; at 95% confidence by at most 0.00 points)"
    ) in caplog.text


def test_an_array_is_embedded_in_batches(monkeypatch):
    monkeypatch.setattr(image_batches, "BATCH_SIZE", 5)
    _, history = fit([RecallAtK(coloured_images(1))], epochs=1)
    assert history.history["recall_at_8"][0] > 0.5


IMAGES, LABELS = coloured_images(1)


@pytest.mark.parametrize("ks", [1, np.int64(1), np.array([1, 8]), range(1, 3)])
def test_one_k_or_an_array_of_them(ks):
    callback = RecallAtK((IMAGES, LABELS), ks=ks)
    _, history = fit([callback], epochs=1)
    names = {name for name in history.history if name.startswith("recall_at_")}
    assert names == {f"recall_at_{k}" for k in np.atleast_1d(ks)}
    assert all(type(k) is int for k in callback.ks)


def expected_recall(model):
    return retrieval_metrics(embed(embedding_part(model), [IMAGES]), LABELS)["recall_at_1"]


@pytest.fixture
def folder(tmp_path):
    """The images as PNG files in class folders, in order within each class."""
    for number, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
        path = tmp_path / f"class {label}" / f"{number:02}.png"
        path.parent.mkdir(exist_ok=True)
        keras.utils.save_img(path, image, scale=False)
    return tmp_path


@pytest.mark.parametrize("mode", ["int", "categorical"])
def test_a_folder_that_keras_shuffles(folder, mode):
    def batches(**options):
        return keras.utils.image_dataset_from_directory(
            folder, image_size=(4, 4), batch_size=7, verbose=False, **options
        )

    shuffled = batches(label_mode=mode)
    model, history = fit([RecallAtK(shuffled), RecallAtK(shuffled, shuffled, prefix="shop_")], 1)
    in_order = embed(embedding_part(model), batches(shuffle=False))  # in the order of LABELS
    expected = retrieval_metrics(in_order, LABELS)["recall_at_1"]
    assert history.history["recall_at_1"][0] == pytest.approx(expected)
    assert history.history["shop_recall_at_1"] == [1.0]  # each image finds itself
    alike = RecallAtK((batches(shuffle=False, label_mode=mode), LABELS))
    _, history = fit([alike], 1, model)
    assert history.history["recall_at_1"][0] == pytest.approx(expected_recall(model), abs=0.05)
    with pytest.raises(ValueError, match="of queries|for the queries.*Give RecallAtK the dataset"):
        fit([RecallAtK((shuffled, LABELS))])
    with pytest.raises(ValueError, match="queries in the same order in each pass.*shuffle=False"):
        fit([RecallAtK((batches(label_mode=None), LABELS))])


def test_fewer_labels_than_the_first_batch_has_are_counted():
    labelled = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(48)
    with pytest.raises(ValueError, match="one label for each of the queries; received 48 .* 40"):
        fit([RecallAtK((labelled, LABELS[:40]))])


def test_other_labels_than_those_of_a_late_batch_are_refused():
    given = np.r_[LABELS[:40], np.zeros(8, int)]
    labelled = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(10)
    with pytest.raises(ValueError, match="image 40 is of class 5 in its batch and of 0 in"):
        fit([RecallAtK((labelled, given))])


@pytest.mark.parametrize(
    "labels", [LABELS * 1.0, LABELS[:, None], np.eye(CLASSES)[LABELS], LABELS.astype(str)]
)
def test_labels_as_datasets_give_them(labels):
    labelled = tf.data.Dataset.from_tensor_slices((IMAGES, labels)).batch(10)
    model, history = fit([RecallAtK(labelled), RecallAtK((IMAGES, labels), prefix="array_")], 1)
    for name in ("recall_at_1", "array_recall_at_1"):
        assert history.history[name] == [pytest.approx(expected_recall(model))]


def test_class_ids_above_2_to_the_53_are_not_merged():
    labels = LABELS + np.int64(2**60)
    model, history = fit([RecallAtK((IMAGES, labels), (IMAGES, labels.astype("uint64")))], 1)
    _, same = fit([RecallAtK((IMAGES, LABELS), (IMAGES, LABELS))], 1, model)
    assert history.history["recall_at_8"] == [1.0] == same.history["recall_at_8"]


class Batches(keras.utils.PyDataset):
    """The images in batches of 7, in another order each epoch."""

    def __init__(self, labels=None):
        super().__init__()
        self.labels, self.order = labels, np.random.default_rng(0).permutation(len(IMAGES))

    def __len__(self):
        return 7

    def __getitem__(self, place):
        rows = self.order[7 * place : 7 * place + 7]
        return IMAGES[rows] if self.labels is None else (IMAGES[rows], self.labels[rows])

    def on_epoch_end(self):
        self.order = np.random.default_rng(self.order[0]).permutation(len(IMAGES))


def test_a_py_dataset():
    model, history = fit([RecallAtK(Batches(LABELS))], 1)
    assert history.history["recall_at_1"] == [pytest.approx(expected_recall(model))]
    with pytest.raises(ValueError, match="labels given for the queries to be those of the batches"):
        fit([RecallAtK((Batches(LABELS), LABELS))])
    with pytest.raises(ValueError, match="queries in the same order in each pass"):
        fit([RecallAtK((Batches(), LABELS))])
    with pytest.raises(ValueError, match="labels for the queries .* received batches of images"):
        fit([RecallAtK(Batches())])


class Subclassed(keras.Model):
    def __init__(self, num_classes=None):
        super().__init__()
        self.scale, self.flatten = keras.layers.Rescaling(1 / 255), keras.layers.Flatten()
        self.embedding, self.unit = keras.layers.Dense(8), keras.layers.UnitNormalization()
        self.proxies = Proxies(num_classes) if num_classes else None

    def call(self, images):
        vectors = self.unit(self.embedding(self.flatten(self.scale(images))))
        return vectors if self.proxies is None else self.proxies(vectors)


def test_subclassed_models():
    embedder = Subclassed()
    embedder.compile("adam", "mse")
    callback = RecallAtK((dataset(IMAGES).batch(7), LABELS))
    embedder.fit(IMAGES, np.zeros((48, 8)), verbose=0, callbacks=[callback])
    vectors = embedder(IMAGES).numpy()
    expected = retrieval_metrics(vectors, LABELS)["recall_at_1"]
    assert embedder.history.history["recall_at_1"] == [pytest.approx(expected)]
    assert (
        callback._embedder._network.step.experimental_get_tracing_count() <= 3
    )  # and one that builds
    model = Subclassed(CLASSES)
    model.compile("adam", ProxyAnchorLoss())
    with pytest.raises(
        ValueError, match="received a Subclassed .* Give RecallAtK that part as emb"
    ):
        fit([RecallAtK((IMAGES, LABELS))], model=model)
    fit([RecallAtK((IMAGES, LABELS), embedding_model=embedder)], 1, model)


def test_models_of_two_inputs_are_refused():
    inputs = [keras.Input((4, 4, 3)), keras.Input((4, 4, 3))]
    two = keras.Model(inputs, keras.layers.Flatten()(keras.layers.Add()(inputs)))
    with pytest.raises(ValueError, match="with one input, .* received 2 inputs"):
        fit([RecallAtK((IMAGES, LABELS), embedding_model=two)])


@pytest.mark.parametrize(
    ("images", "warned"),
    [(IMAGES, False), (IMAGES / 255, True), (IMAGES / 127.5 - 1, True)],
)
def test_scaled_pixels_are_warned_of_where_the_model_scales_them(images, warned, caplog):
    images = images.astype("float32")
    fit([RecallAtK((images, LABELS))], epochs=2)
    assert caplog.text.count("the model scales pixels itself and expects 0..255") == warned
    caplog.clear()
    pixels = keras.Input((4, 4, 3))
    vectors = keras.layers.Dense(4)(keras.layers.Flatten()(pixels))
    unscaled = keras.Model(pixels, keras.layers.UnitNormalization()(vectors))
    fit([RecallAtK((images + 1e-3, LABELS), embedding_model=unscaled)], epochs=1)
    assert "expects 0..255" not in caplog.text


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"queries": IMAGES}, r"queries as a pair \(images, labels\), or .* received ndarray"),
        ({"queries": (IMAGES, LABELS[:3])}, "one label for each .* 48 images and 3 labels"),
        (
            {"queries": (IMAGES, LABELS + 0.5)},
            r"the labels of queries as .*; received 0.5 in row 0",
        ),
        ({"queries": (IMAGES, np.full((48, 2), 3))}, r"received int64 of shape \(48, 2\)"),
        ({"queries": (IMAGES[:6], np.arange(6))}, "right answer in the gallery .* received 6"),
        (
            {"queries": (IMAGES, LABELS), "gallery": (IMAGES, LABELS + 50)},
            "received 48 queries without",
        ),
        ({"queries": (IMAGES, LABELS), "ks": (0, 1)}, r"ks=\(0, 1\)"),
        ({"queries": (IMAGES, LABELS), "ks": ()}, r"ks=\(\)"),
        ({"queries": (IMAGES, LABELS), "ks": (1, 2.5)}, r"ks=\(1, 2.5\)"),
        ({"queries": (IMAGES, LABELS), "every": 0}, "every of 1 or more; received 0"),
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
        (dataset(IMAGES).batch(8).repeat(), "Expected finite gallery .* Remove its repeat"),
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
    with pytest.raises(ValueError, match="starts with keras.Input; received a Sequential"):
        embedding_part(keras.Sequential([keras.layers.Dense(2), Proxies(3)]))
    proxies = [Proxies(3, name=name)(long(images)) for name in "ab"]
    with pytest.raises(ValueError, match="one Proxies layer in the model; received 2"):
        embedding_part(keras.Model(images, proxies))
