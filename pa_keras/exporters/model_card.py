"""The model card of an export: what it is, where it comes from, and how it was checked."""

import contextlib
import datetime
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import keras

import pa_keras
from pa_keras.evaluation.matching import MatchThreshold
from pa_keras.exporters.agreement import Agreement, as_table
from pa_keras.exporters.match_agreement import MatchAgreement
from pa_keras.models import checksum

_PACKAGES = (
    "tensorflow", "keras", "numpy", "ai-edge-litert", "litert-quantizer", "onnx", "tf2onnx",
    "onnxruntime",
)  # fmt: skip


@dataclass(frozen=True)
class Identity:
    """What an export is called, and where its model comes from.

    Args:
        name: Name of the model on a server.
        version: Version of the export.
        run: Name of the run folder. None: the model was given as a file.
        metrics: Metrics of the run's last evaluation on test classes, in [0, 1]; may be empty.
    """

    name: str
    version: int
    run: str | None
    metrics: dict[str, float]


@dataclass(frozen=True)
class Matches:
    """The threshold of a match, and how the SavedModel decides by it.

    Args:
        threshold: The threshold.
        agreement: Result of `measure_matches`.
    """

    threshold: MatchThreshold
    agreement: MatchAgreement

    def as_json(self) -> dict[str, Any]:
        """Returns the threshold and the agreement, ready for `json.dump`."""
        return {**self.threshold.as_json(), "agreement": self.agreement.as_json()}


@dataclass(frozen=True)
class Report:
    """What was measured on the exported files.

    Args:
        agreements: Result of `measure_agreement`.
        num_images: Number of test images of the agreements.
        gallery: Result of `measure_gallery`, and k. Default None: the SavedModel has no gallery.
        matches: The decisions on matches. Default None: the SavedModel has no threshold.
    """

    agreements: Sequence[Agreement]
    num_images: int
    gallery: dict[str, Any] | None = None
    matches: Matches | None = None


def model_card(
    model: keras.Model, crop_fraction: float, identity: Identity, report: Report
) -> dict[str, Any]:
    """Returns what a user of the export needs to know, ready for `json.dump`.

    Args:
        model: Embedding model.
        crop_fraction: Crop fraction of the evaluation preprocessing.
        identity: What the export is called.
        report: What was measured.
    """
    height, width = model.input_shape[1:3]
    matches = report.matches
    return {
        "name": identity.name,
        "version": identity.version,
        "what": "images to embeddings of unit length; similar images have a large cosine",
        "run": identity.run,
        "date": datetime.date.today().isoformat(),
        "input": {
            "channels": "RGB, 0..255",
            "height": height,
            "width": width,
            "crop_fraction": crop_fraction,
        },
        "output": {"name": "embedding", "dtype": "float32", "size": model.output_shape[1]},
        "metrics": identity.metrics,
        "agreement": {
            "images": report.num_images,
            "artefacts": [each.as_json() for each in report.agreements],
        },
        "gallery": report.gallery,
        "match": None if matches is None else matches.as_json(),
        "model_checksum": checksum(model),
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    """Returns the versions of the installed packages that make and check exports."""
    versions = {"pa_keras": pa_keras.__version__}
    for package in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions


def write_model_card(folder: Path, card: dict[str, Any]) -> None:
    """Writes model_card.json and model_card.md into a folder.

    Args:
        folder: Folder to write to.
        card: Result of `model_card`.
    """
    (folder / "model_card.json").write_text(json.dumps(card, indent=2) + "\n")
    (folder / "model_card.md").write_text(_markdown(card), encoding="utf-8")


def _cost(gallery: dict[str, Any]) -> str:
    """Describes the effect of rounding the gallery."""
    if gallery["same_nearest"] is None:
        return "Nothing was measured, since there is only one vector."
    lost = gallery["recall_at_1_lost"]
    recall = "not measured, no class has two items" if lost is None else f"{lost:+.2f} points"
    return (
        f"Of {gallery['queries']} of them as queries, {100 * gallery['same_nearest']:.2f} % find "
        f"the same nearest neighbour as in float32; Recall@1 lost: {recall}."
    )


def _choice(calibration: dict[str, Any] | None) -> str:
    """Describes how the threshold of a match was chosen."""
    if calibration is None:
        return "It was given as a number, not calibrated."
    images = calibration["details"].get("chosen_on", "unknown images")
    rate = 100 * calibration["false_match_rate"]
    return f"It was chosen for a false match rate of {rate:g} % on {images}."


def _markdown(card: dict[str, Any]) -> str:
    image, output = card["input"], card["output"]
    lines = [
        f"# {card['name']}, version {card['version']}",
        "",
        f"- What: {card['what']}.",
        f"- From: {'run ' + card['run'] if card['run'] else 'a model file'}, {card['date']}.",
        f"- Input: {image['channels']}, {image['height']} x {image['width']}; the shorter side is "
        f"resized to the size / {image['crop_fraction']}, then the centre is cropped.",
        f"- Output: `{output['name']}`, {output['dtype']}, {output['size']} numbers.",
    ]
    if card["metrics"]:
        percent = ", ".join(f"{key} {100 * value:.2f} %" for key, value in card["metrics"].items())
        lines.append(f"- On the test classes of its run: {percent}.")
    if card["gallery"]:
        kept = card["gallery"]
        lines.append(
            f"- Gallery: {kept['size']} vectors in {kept['dtype']}, {kept['k']} neighbours in a "
            f"response. {_cost(kept)}"
        )
    if card["match"]:
        match = card["match"]
        agreement = MatchAgreement(**match["agreement"])
        lines.append(
            f"- Match: a neighbour is `matched` if its similarity is {match['min_similarity']:.4f} "
            f"or more. {_choice(match['calibration'])} {agreement.as_line()}"
        )
    versions = ", ".join(f"{package} {number}" for package, number in card["versions"].items())
    lines += [
        f"- Made with {versions}.",
        "",
        f"Agreement with the Keras model on {card['agreement']['images']} test images:",
        "",
        as_table([Agreement(**each) for each in card["agreement"]["artefacts"]]),
        "",
        "Milliseconds are per image, on the exporting machine; those of saved_model include "
        "decoding and preprocessing, the others do not. The MB of saved_model include the gallery.",
        "",
    ]
    return "\n".join(lines)
