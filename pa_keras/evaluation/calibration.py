"""A calibrated threshold: the cosine from which on an item counts as a match of a query."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KEY = "calibration"  # of the JSON files that hold one

_REMEDY = "Run python -m pa_keras.evaluate --run DIR --thresholds true, which chooses a threshold."


@dataclass(frozen=True)
class Calibration:
    """The threshold of one model for a wanted rate of false matches.

    A query matches an item if and only if their cosine is at least the threshold.

    Args:
        threshold: Least cosine of a match, [-1, 1].
        false_match_rate: Rate of false matches that was wanted when the threshold was chosen: the
            share of pairs of different classes that count as a match, [0, 1].
        model: `pa_keras.models.checksum` of the model.
        crop_fraction: Crop fraction of the evaluation preprocessing.
        image_size: (height, width) of the model's images in pixels.
        details: What else is known, serializable as JSON: chosen_on, the kind of images on which
            the threshold was chosen, and the measured rates. Default: nothing.

    Raises:
        ValueError: If the threshold or the rate is out of range.

    Example:
        >>> found = Calibration(0.62, 0.01, "a3f0", 0.875, (160, 160))
        >>> found.as_json()["threshold"]
        0.62
    """

    threshold: float
    false_match_rate: float
    model: str
    crop_fraction: float
    image_size: tuple[int, int]
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        expect_cosine("threshold", self.threshold)
        if not 0 <= self.false_match_rate <= 1:
            raise ValueError(
                f"Expected a false_match_rate of 0 to 1; received {self.false_match_rate}."
            )

    def as_json(self) -> dict[str, Any]:
        """Returns the value for the key "calibration" of a JSON file, which `read` reads."""
        return {
            "threshold": self.threshold,
            "false_match_rate": self.false_match_rate,
            "model": self.model,
            "crop_fraction": self.crop_fraction,
            "image_size": list(self.image_size),
            "details": dict(self.details),
        }


def expect_cosine(name: str, value: float) -> None:
    """Raises a ValueError that names the argument unless its value is in [-1, 1].

    Example:
        >>> expect_cosine("threshold", 0.5)
    """
    if not -1 <= value <= 1:  # also true for NaN
        raise ValueError(f"Expected a {name} of -1 to 1, a cosine; received {value}.")


def read(path: str | Path) -> Calibration:
    """Reads the calibration from a JSON file.

    Args:
        path: A run's result.json, the file of `evaluate --json`, or any other JSON file with the
            key "calibration".

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file has no calibration, or a malformed one.

    Example:
        >>> found = Calibration(0.62, 0.01, "a3f0", 0.875, (160, 160))
        >>> _ = Path("result.json").write_text(json.dumps({"calibration": found.as_json()}))
        >>> read("result.json") == found
        True
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected a calibrated threshold in {path}; there is no such file. {_REMEDY}"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"it holds a {type(content).__name__}, not an object")
    except ValueError as error:  # also broken UTF-8
        raise ValueError(
            f"Expected a JSON object with a calibrated threshold in {path}; it is not one "
            f"({error}). {_REMEDY}"
        ) from error
    if KEY not in content:
        raise ValueError(f'Expected a calibrated threshold in {path}; it has no "{KEY}". {_REMEDY}')
    try:
        return _from_json(content[KEY])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f'Expected "{KEY}" in {path} as it was written; it changed ({error!r}). {_REMEDY}'
        ) from error


def expect_model(
    calibration: Calibration, checksum: str, crop_fraction: float | None = None
) -> None:
    """Raises a ValueError unless the threshold was chosen for the model and its preprocessing.

    Args:
        calibration: The threshold.
        checksum: `pa_keras.models.checksum` of the model that is used.
        crop_fraction: Crop fraction that is used. Default None: any.

    Raises:
        ValueError: If the model or the crop fraction is another one.

    Example:
        >>> found = Calibration(0.62, 0.01, "a3f0", 0.875, (160, 160))
        >>> expect_model(found, "a3f0", 0.875)
    """
    if calibration.model != checksum:
        raise ValueError(
            f"Expected a threshold of the model with the checksum {checksum[:12]}; received one of "
            f"the model {calibration.model[:12]}, whose cosines mean something else. {_REMEDY}"
        )
    if crop_fraction not in (None, calibration.crop_fraction):
        raise ValueError(
            f"Expected a threshold for the crop_fraction {crop_fraction}; received one for "
            f"{calibration.crop_fraction}. {_REMEDY}"
        )


def _from_json(found: Any) -> Calibration:
    height, width = found["image_size"]
    return Calibration(
        threshold=_number(found["threshold"]),
        false_match_rate=_number(found["false_match_rate"]),
        model=str(found["model"]),
        crop_fraction=_number(found["crop_fraction"]),
        image_size=(int(height), int(width)),
        details=dict(found["details"]),
    )


def _number(value: Any) -> float:
    # bool is a subclass of int, and float("0.5") would accept a string.
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"Expected a finite number; received {value!r}.")
    return float(value)
