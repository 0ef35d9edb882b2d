"""The bounds of every format on real photographs, with the network of the experiments."""

import os
from pathlib import Path

import pytest

from pa_keras import datasets
from pa_keras.exporters import keras_artefact, load_artefact, measure_agreement
from pa_keras.exporters.formats import calibration_images, path_of, write_file, write_served
from pa_keras.exporters.publishing import ExportPlace
from pa_keras.models import embedding_model

CARS = Path(os.environ.get("PA_KERAS_DATA", "?"), "cars196")
FILES = ("tflite", "tflite_float16", "tflite_dynamic", "tflite_int8", "onnx")


@pytest.mark.large
@pytest.mark.skipif(not CARS.is_dir(), reason="PA_KERAS_DATA holds no cars196")
def test_every_format_keeps_its_bound(tmp_path):
    """ImageNet weights and a random projection; training on cars is not needed here."""
    data = datasets.load("manifest", str(CARS))
    size = {"image_size": (160, 160), "crop_fraction": 1.0}
    model = embedding_model("efficientnet_lite0", 512, (160, 160), seed=0)
    place = ExportPlace(tmp_path, "cars", 1)
    place.files.mkdir(parents=True)
    write_served(place, model, crop_fraction=1.0, batch_sizes=(1, 2))
    calibration = calibration_images(data.train, 200, **size)
    for kind in FILES:
        write_file(place, model, kind, crop_fraction=1.0, calibration_images=calibration)
    some = datasets.sample_classes(data, 1000)
    artefacts = [load_artefact(path_of(place, kind), kind) for kind in ("saved_model", *FILES)]
    found = measure_agreement(keras_artefact(model), artefacts, some.queries, **size)
    assert [each.kind for each in found if not each.agrees] == []
    sizes = {each.kind: each.size for each in found}
    assert sizes["tflite_float16"] <= 0.51 * sizes["tflite"]
    assert sizes["tflite_int8"] <= 0.30 * sizes["tflite"]
