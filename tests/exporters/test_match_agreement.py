"""The report on `matched`, on artefacts that decide wrongly in a known way."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pa_keras.datasets import Images
from pa_keras.evaluation.calibration import Calibration
from pa_keras.evaluation.matching import MatchThreshold
from pa_keras.exporters import (
    Agreement,
    Artefact,
    Gallery,
    Identity,
    Matches,
    Report,
    expect_matches,
    measure_matches,
    model_card,
    write_model_card,
)

K = 4


@pytest.fixture
def images(scenes, tmp_path):
    for number, scene in enumerate(scenes):
        Image.fromarray(scene.astype("uint8")).save(tmp_path / f"{number}.png")
    paths = tuple(str(tmp_path / f"{number}.png") for number in range(12))
    return Images(paths, np.arange(12) // 3, tuple("abcd"))


@pytest.fixture
def embeddings(model, scenes):
    return model(scenes, training=False).numpy()


@pytest.fixture
def gallery(embeddings):
    ids = [str(number) for number in range(12)]
    return Gallery(embeddings, ids, np.arange(12) // 3, list("abcd"))


@pytest.fixture
def threshold(embeddings):
    """Returns the middle of the widest gap between the similarities of the K nearest."""
    values = np.sort(-np.sort(-embeddings @ embeddings.T)[:, :K].ravel())
    gap = np.argmax(np.diff(values[5:-15])) + 5
    return float(values[gap : gap + 2].mean())


def artefact_of(gallery, images, threshold, change=lambda similarities, matched: None):
    """Makes a SavedModel's search in NumPy; `change` spoils its answers."""
    rows = {Path(path).read_bytes(): row for row, path in enumerate(images.paths)}

    def find(image_bytes):
        queries = gallery.embeddings[[rows[each] for each in image_bytes]]
        similarities = -np.sort(-queries @ gallery.embeddings.T)[:, :K]
        matched = similarities >= threshold
        change(similarities, matched)
        return {"similarities": similarities, "matched": matched}

    return Artefact("saved_model", 1, "image_bytes", lambda batch: batch, find)


def measure(model, images, gallery, threshold, artefact):
    options = {"min_similarity": threshold, "cosine_min": 1.0, "crop_fraction": 1.0}
    return measure_matches(artefact, model, images, gallery, **options)


def test_decisions_that_agree(model, images, gallery, embeddings, threshold):
    artefact = artefact_of(gallery, images, threshold)
    found = measure(model, images, gallery, threshold, artefact)
    cosines = embeddings.astype(float) @ embeddings.T
    with_a_match = sum(any(value >= threshold for value in row) for row in cosines)
    assert (found.images, found.neighbours, found.images_matched) == (12, K, with_a_match)
    assert (found.differing, found.wrong, found.agrees) == (0, 0, True)
    expect_matches(found)
    line = found.as_line()
    assert "12 test images have a match among their 4 neighbours" in line
    assert "0 of 48 decisions differ" in line and line.endswith("agrees.")


def flip_the_nearest(similarities, matched):
    matched[:, 0] = ~matched[:, 0]


def lower_all(similarities, matched):
    similarities -= 0.5
    matched[:] = False


@pytest.mark.parametrize("change", [flip_the_nearest, lower_all])
def test_decisions_that_disagree(model, images, gallery, threshold, change):
    artefact = artefact_of(gallery, images, threshold, change)
    found = measure(model, images, gallery, threshold, artefact)
    assert found.wrong >= 12 and not found.agrees and "**disagrees**" in found.as_line()
    with pytest.raises(ValueError, match=rf"{found.wrong} of its 48 decisions differ by more"):
        expect_matches(found)


def test_a_decision_within_rounding_is_counted_but_agrees(model, images, gallery, embeddings):
    similarities = -np.sort(-embeddings @ embeddings.T)[:, :K]
    threshold = float(similarities[2, 2]) + 4e-6

    def raise_slightly(similarities, matched):
        similarities += np.float32(8e-6)
        matched[:] = similarities >= threshold

    artefact = artefact_of(gallery, images, threshold, raise_slightly)
    found = measure(model, images, gallery, threshold, artefact)
    assert found.differing >= 1 and found.wrong == 0 and found.agrees
    assert found.band == pytest.approx(1e-5, abs=1e-6)
    further = measure_matches(
        artefact, model, images, gallery, min_similarity=threshold, cosine_min=0.9998,
        crop_fraction=1.0,
    )  # fmt: skip
    assert further.band == pytest.approx(0.02 + 1e-5, abs=1e-6)


def test_an_export_without_the_output_is_refused(model, images, gallery, threshold):
    artefact = replace(artefact_of(gallery, images, threshold), find=None)
    with pytest.raises(ValueError, match="Expected a SavedModel with an output matched"):
        measure(model, images, gallery, threshold, artefact)


@pytest.mark.parametrize("is_calibrated", [True, False])
def test_the_model_card_says_how_the_threshold_was_chosen(
    model, images, gallery, threshold, tmp_path, is_calibrated
):
    agreement = measure(model, images, gallery, threshold, artefact_of(gallery, images, threshold))
    details = {"chosen_on": "38 held-out classes", "pairs": 1000, "roc": [1, 2]}
    calibration = Calibration(threshold, 0.015, "a" * 64, 1.0, (40, 48), details)
    chosen = MatchThreshold(threshold, calibration if is_calibrated else None)
    row = Agreement("keras", 1.0, 1.0, 0.5, 0.0, 9, 1.0, 1.0, "reference", True)
    report = Report([row], 12, None, Matches(chosen, agreement))
    card = model_card(model, 1.0, Identity("cars", 3, None, {}), report)
    assert card["match"]["min_similarity"] == threshold
    assert card["match"]["agreement"]["images"] == 12
    write_model_card(tmp_path, card)
    text = (tmp_path / "model_card.md").read_text()
    assert f"`matched` if its similarity is {threshold:.4f} or more" in text
    assert agreement.as_line() in text and "| keras | 1.0000000" in text
    if is_calibrated:
        assert card["match"]["calibration"] == calibration.as_json()
        assert "false match rate of 1.5 % on 38 held-out classes." in text
    else:
        assert card["match"]["calibration"] is None
        assert "It was given as a number, not calibrated." in text
