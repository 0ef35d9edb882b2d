"""The least cosine of a match, as a command takes it: a number, or the calibrated threshold."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pa_keras.evaluation import calibration
from pa_keras.evaluation.calibration import Calibration, expect_cosine


@dataclass(frozen=True)
class MatchThreshold:
    """The threshold of a match, and where it comes from.

    Args:
        min_similarity: Least cosine of a match, [-1, 1].
        calibration: How the threshold was chosen. Default None: the user gave a number.
    """

    min_similarity: float
    calibration: Calibration | None = None

    def expect_model(self, checksum: str, crop_fraction: float) -> None:
        """Raises a ValueError if the threshold was calibrated for another model or crop."""
        if self.calibration is not None:
            calibration.expect_model(self.calibration, checksum, crop_fraction)

    def expected_false_matches(self, gallery_size: int) -> float:
        """Returns how many items of other classes match a query on average; 0 if unknown.

        The false match rate is a rate over pairs, and a search forms a pair with every item.
        """
        return 0.0 if self.calibration is None else self.calibration.false_match_rate * gallery_size

    def as_json(self) -> dict[str, Any]:
        """Returns the threshold, and its calibration or None, ready for `json.dump`."""
        chosen = self.calibration
        return {
            "min_similarity": self.min_similarity,
            "calibration": None if chosen is None else chosen.as_json(),
        }


def expect_matching(min_similarity: float | str | None, calibration_file: str | None) -> None:
    """Raises a ValueError, before any work, if settings are out of range or do not fit together.

    Args:
        min_similarity: A cosine, "calibrated", or None for no threshold.
        calibration_file: JSON file of the calibrated threshold, or None.
    """
    if calibration_file is not None and min_similarity != "calibrated":
        raise ValueError(
            "Expected --min-similarity calibrated, since --calibration is given; received "
            f"{min_similarity}. Leave one of them out."
        )
    if isinstance(min_similarity, int | float):
        expect_cosine("min_similarity", min_similarity)


def match_threshold(
    min_similarity: float | Literal["calibrated"] | None,
    calibration_file: str | None,
    result: Path | None,
) -> MatchThreshold | None:
    """Returns the threshold that a user asked for.

    Args:
        min_similarity: As in `expect_matching`.
        calibration_file: As in `expect_matching`.
        result: The run's result.json, which is read if there is no calibration_file. None: the
            model is not from a run.

    Returns:
        The threshold; None if min_similarity is None.

    Raises:
        FileNotFoundError: If the calibration's file does not exist.
        ValueError: If a setting is wrong, or the file has no calibration or a malformed one.

    Example:
        >>> match_threshold(0.6, None, None)
        MatchThreshold(min_similarity=0.6, calibration=None)
    """
    expect_matching(min_similarity, calibration_file)
    if min_similarity is None:
        return None
    if min_similarity != "calibrated":
        return MatchThreshold(min_similarity)
    path = result if calibration_file is None else calibration_file
    if path is None:
        raise ValueError(
            "Expected a run for the calibrated threshold, or the file that holds it; received a "
            "model file alone. Give --calibration FILE, which python -m pa_keras.evaluate "
            "--thresholds true --json FILE writes."
        )
    found = calibration.read(path)
    return MatchThreshold(found.threshold, found)
