"""Settings of a match, shared by `search query` and export."""

from dataclasses import dataclass
from typing import Literal


@dataclass
class Matching:
    """When an item counts as a match of a query."""

    min_similarity: float | Literal["calibrated"] | None = None
    """Least cosine of a match: a number of -1 to 1, or calibrated, the threshold that evaluate
    --thresholds chose for the model. Default: no threshold, every neighbour counts."""

    calibration: str | None = None
    """JSON file of evaluate --json that holds the calibrated threshold. Default: result.json of the
    run."""
