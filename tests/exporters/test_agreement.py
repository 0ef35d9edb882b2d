"""The agreement report, on artefacts with a known disagreement."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pa_keras.datasets import Images
from pa_keras.exporters import (
    Artefact,
    as_table,
    expect_agreement,
    keras_artefact,
    measure_agreement,
)
from pa_keras.exporters.agreement import keeps_bound


@pytest.fixture
def images(scenes, tmp_path):
    for number, scene in enumerate(scenes):
        Image.fromarray(scene.astype("uint8")).save(tmp_path / f"{number}.png")
    paths = tuple(str(tmp_path / f"{number}.png") for number in range(12))
    return Images(paths, np.arange(12) // 3, tuple("abcd"))


def measure(model, images, *artefacts, gallery=None):
    return measure_agreement(
        keras_artefact(model), artefacts, images, gallery, image_size=(40, 48), crop_fraction=1.0
    )


def of(model, kind, change, takes="pixels"):
    """Makes an artefact whose embeddings are those of Keras, changed."""
    step = keras_artefact(model).embed
    return Artefact(kind, 1000, takes, lambda batch: change(step(batch)))


def turned(embeddings, cosine):
    """Returns embeddings at this cosine, by adding a direction orthogonal to each."""
    other = np.roll(embeddings, 1, axis=1)
    other -= (other * embeddings).sum(1, keepdims=True) * embeddings
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    return cosine * embeddings + np.sqrt(1 - cosine**2) * other


def recall(queries, query_labels, gallery=None, gallery_labels=None):
    """Computes Recall@1 by a double loop."""
    hits = []
    for i, query in enumerate(queries):
        rows = range(len(queries)) if gallery is None else range(len(gallery))
        others = [j for j in rows if gallery is not None or j != i]
        vectors = queries if gallery is None else gallery
        labels = query_labels if gallery is None else gallery_labels
        cosines = [query @ vectors[j] / np.linalg.norm(vectors[j]) for j in others]
        hits.append(labels[others[int(np.argmax(cosines))]] == query_labels[i])
    return np.mean(hits)


def test_cosines_and_recall(model, images, scenes):
    reference, off = measure(model, images, of(model, "onnx", lambda e: turned(e, 0.99)))
    assert (reference.kind, reference.agrees) == ("keras", True)
    assert reference.cosine_min == pytest.approx(1, abs=1e-6)
    assert off.cosine_min == pytest.approx(0.99, abs=1e-5)
    assert off.cosine_mean == pytest.approx(0.99, abs=1e-5)
    assert (off.size, off.agrees, off.bound) == (1000, False, "cosine >= 0.9999")
    embeddings = model(scenes, training=False).numpy().astype(float)
    assert reference.recall_at_1 == pytest.approx(recall(embeddings, images.labels))
    assert off.recall_at_1 == pytest.approx(recall(turned(embeddings, 0.99), images.labels))
    assert min(off.ms_at_1, off.ms_at_32) > 0


def scrambled(embeddings):
    """Returns other vectors, always the same ones for an image."""
    seeds = [int(1e6 * abs(e[0])) for e in embeddings]
    return np.stack([np.random.default_rng(s).normal(size=embeddings.shape[1]) for s in seeds])


def test_lost_recall_is_in_points(model, images, scenes):
    reference, lost = measure(model, images, of(model, "tflite_int8", scrambled))
    embeddings = model(scenes, training=False).numpy()
    expected = recall(embeddings, images.labels) - recall(scrambled(embeddings), images.labels)
    assert expected > 0.3
    assert lost.recall_at_1_lost == pytest.approx(100 * expected)
    assert not lost.agrees


def test_queries_against_a_gallery(model, images, scenes):
    first, others = [0, 3, 6, 9], [1, 2, 4, 7, 8, 10]
    queries, gallery = images.take(first), images.take(others)
    found = measure(model, queries, of(model, "tflite", lambda e: 2 * e), gallery=gallery)
    embeddings = model(scenes, training=False).numpy()
    expected = recall(embeddings[first], queries.labels, embeddings[others], gallery.labels)
    assert [each.recall_at_1 for each in found] == [pytest.approx(expected)] * 2
    assert found[1].cosine_min == pytest.approx(1, abs=1e-6)


def test_image_bytes_are_those_of_the_files(model, images):
    seen = []
    step = keras_artefact(model).embed

    def embed(contents):
        seen.extend(contents)
        return step(np.zeros((len(contents), 40, 48, 3), "float32"))

    measure(model, images, Artefact("saved_model", 1, "image_bytes", embed))
    assert seen[:12] == [Path(path).read_bytes() for path in images.paths]


def test_embeddings_that_are_not_finite(model, images):
    with pytest.raises(FloatingPointError, match="the onnx export gives others"):
        measure(model, images, of(model, "onnx", lambda e: e * np.nan))


@pytest.mark.parametrize(
    ("kind", "cosine", "lost", "agrees"),
    [
        ("saved_model", 1 - 0.9e-6, 0, True),
        ("saved_model", 1 - 1.1e-6, 0, False),
        ("onnx", 0.99991, 0, True),
        ("onnx", 0.99989, 0, False),
        ("tflite", 0.99989, 0, False),
        ("tflite_float16", 0.9991, 5, True),
        ("tflite_float16", 0.9989, 0, False),
        ("tflite_dynamic", 0.5, 0.5, True),
        ("tflite_dynamic", 0.999, 0.51, False),
        ("tflite_int8", 0.5, 1.0, True),
        ("tflite_int8", 0.999, 1.01, False),
        ("keras", 1, 0, True),
    ],
)
def test_bounds(kind, cosine, lost, agrees):
    assert keeps_bound(kind, cosine, lost, num_queries=1000)[1] is agrees


def test_a_single_query_is_not_too_much_to_lose():
    assert keeps_bound("tflite_int8", 0.99, 100 / 20, num_queries=20) == ("lost <= 5", True)
    assert not keeps_bound("tflite_int8", 0.99, 100 / 19, num_queries=20)[1]


def test_table_and_error_name_what_disagrees(model, images):
    found = measure(
        model, images, of(model, "onnx", lambda e: e), of(model, "tflite", lambda e: turned(e, 0.9))
    )
    table = as_table(found).splitlines()
    assert len(table) == 5 and len({line.count("|") for line in table}) == 1
    assert "agrees" in table[3] and "**disagrees**" in table[4]
    with pytest.raises(ValueError, match=r"received tflite with a least cosine of 0\.9000"):
        expect_agreement(found)
    expect_agreement(found[:2])
