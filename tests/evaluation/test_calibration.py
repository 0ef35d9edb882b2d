"""A calibrated threshold: written, read and refused."""

import dataclasses
import json
import subprocess
import sys

import pytest

from pa_keras.evaluation import calibration
from pa_keras.evaluation.calibration import Calibration, expect_cosine, expect_model, read

CALIBRATION = Calibration(
    0.625, 0.01, "a" * 64, 0.875, (64, 48), {"chosen_on": "held-out classes", "pairs": 1000}
)


def write(tmp_path, content):
    path = tmp_path / "result.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_it_is_read_as_it_was_written(tmp_path):
    path = write(tmp_path, {"epoch": 3, "calibration": CALIBRATION.as_json()})
    assert read(path) == CALIBRATION
    assert read(str(path)) == CALIBRATION


def test_a_missing_file_is_named_with_the_remedy(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such file.*evaluate --run DIR --thresholds"):
        read(tmp_path / "result.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"metrics": {}}, 'it has no "calibration"'),
        ("{broken", "not one"),
        ("[1]", "list, not an object"),
        ({"calibration": None}, "TypeError"),
        ({"calibration": {}}, "image_size"),
    ],
)
def test_a_file_without_a_calibration_is_refused(tmp_path, content, message):
    with pytest.raises(ValueError, match=rf"{message}.*--thresholds true"):
        read(write(tmp_path, content))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threshold", 1.01),
        ("threshold", -1.01),
        ("threshold", float("nan")),
        ("threshold", "0.5"),
        ("threshold", True),
        ("threshold", None),
        ("false_match_rate", 1.5),
        ("false_match_rate", float("nan")),
        ("crop_fraction", "large"),
        ("image_size", [64]),
        ("image_size", 64),
        ("details", 3),
    ],
)
def test_a_malformed_calibration_is_refused(tmp_path, name, value):
    path = write(tmp_path, {"calibration": CALIBRATION.as_json() | {name: value}})
    with pytest.raises(ValueError, match=r'"calibration" in .*it changed.*--thresholds true'):
        read(path)


@pytest.mark.parametrize("name", [each.name for each in dataclasses.fields(Calibration)])
def test_every_field_is_needed(tmp_path, name):
    content = CALIBRATION.as_json()
    del content[name]
    with pytest.raises(ValueError, match=rf"it changed .KeyError.'{name}'"):
        read(write(tmp_path, {"calibration": content}))


@pytest.mark.parametrize("value", [-1, -0.5, 0, 1])
def test_cosines_are_accepted(value):
    expect_cosine("threshold", value)
    assert dataclasses.replace(CALIBRATION, threshold=value).threshold == value


@pytest.mark.parametrize("value", [-1.0001, 1.0001, float("nan"), float("inf")])
def test_other_thresholds_are_refused(value):
    with pytest.raises(ValueError, match="Expected a threshold of -1 to 1, a cosine; received"):
        dataclasses.replace(CALIBRATION, threshold=value)


def test_the_threshold_of_another_model_is_refused():
    expect_model(CALIBRATION, "a" * 64)
    with pytest.raises(ValueError, match="checksum bbbbbbbbbbbb; received .*model aaaaaaaaaaaa"):
        expect_model(CALIBRATION, "b" * 64)


def test_the_threshold_for_another_crop_is_refused():
    expect_model(CALIBRATION, "a" * 64, 0.875)
    with pytest.raises(ValueError, match=r"crop_fraction 1\.0; received one for 0\.875"):
        expect_model(CALIBRATION, "a" * 64, 1.0)


def test_the_module_itself_needs_no_tensorflow():
    code = f"import runpy, sys; runpy.run_path({calibration.__file__!r}); print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "math" in result.stdout.split(), result.stderr
    assert not {"tensorflow", "keras", "numpy"} & set(result.stdout.split())
