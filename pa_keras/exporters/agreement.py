"""Agreement of an exported file with the Keras model: the bounds and the report."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

# The minimum cosine with the Keras model, and the maximum loss of Recall@1 in percentage points.
_LEAST_COSINE = {
    "saved_model": 1 - 1e-6,
    "onnx": 0.9999,
    "tflite": 0.9999,
    "tflite_float16": 0.999,
}
_MOST_LOST = {"tflite_dynamic": 0.5, "tflite_int8": 1.0}


@dataclass(frozen=True)
class Agreement:
    """The comparison of one artefact with the Keras model.

    Args:
        kind: Kind, as in `Artefact`.
        cosine_min: Minimum cosine with the Keras model's embedding of the same image, [-1, 1].
        cosine_mean: Mean cosine.
        recall_at_1: Recall@1 of the artefact's embeddings, [0, 1].
        recall_at_1_lost: Recall@1 of the Keras model minus that, in percentage points.
        size: Bytes on disk.
        ms_at_1: Milliseconds per image, one at a time; median of five.
        ms_at_32: Milliseconds per image, 32 at a time (or all, if there are fewer).
        bound: The bound as text.
        agrees: Whether the artefact meets its bound.
    """

    kind: str
    cosine_min: float
    cosine_mean: float
    recall_at_1: float
    recall_at_1_lost: float
    size: int
    ms_at_1: float
    ms_at_32: float
    bound: str
    agrees: bool

    def as_json(self) -> dict:
        """Returns all fields, ready for `json.dump`."""
        return asdict(self)


def as_table(agreements: Sequence[Agreement]) -> str:
    """Returns the agreements as a Markdown table."""
    lines = [
        "| | cosine, least | mean | Recall@1 % | lost | MB | ms at 1 | ms at 32 | bound | |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for a in agreements:
        verdict = "agrees" if a.agrees else "**disagrees**"
        lines.append(
            f"| {a.kind} | {a.cosine_min:.7f} | {a.cosine_mean:.7f} | {100 * a.recall_at_1:.2f} | "
            f"{a.recall_at_1_lost:+.2f} | {a.size / 1e6:.2f} | {a.ms_at_1:.1f} | "
            f"{a.ms_at_32:.1f} | {a.bound} | {verdict} |"
        )
    return "\n".join(lines)


def keeps_bound(kind: str, cosine: float, lost: float, num_queries: int) -> tuple[str, bool]:
    """Returns the bound of an artefact as text, and whether the artefact meets it.

    Args:
        kind: Kind, as in `Artefact`.
        cosine: Minimum cosine with the Keras model.
        lost: Loss of Recall@1, in percentage points.
        num_queries: Number of queries of the measurement. The loss of one query is always allowed.
    """
    if kind in _LEAST_COSINE:
        least = _LEAST_COSINE[kind]
        return f"cosine >= {least:.7g}", cosine >= least
    if kind in _MOST_LOST:
        most = max(_MOST_LOST[kind], 100 / num_queries)
        return f"lost <= {most:.3g}", lost <= most + 1e-9
    return "reference", True


def expect_agreement(agreements: Sequence[Agreement]) -> None:
    """Raises a ValueError that names the artefacts that miss their bound, if there are any."""
    apart = [each for each in agreements if not each.agrees]
    if apart:
        found = "; ".join(
            f"{each.kind} with a least cosine of {each.cosine_min:.7f} and "
            f"{each.recall_at_1_lost:+.2f} points of Recall@1 lost, where {each.bound} is asked"
            for each in apart
        )
        raise ValueError(f"Expected exports that agree with the Keras model; received {found}.")
