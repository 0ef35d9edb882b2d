"""The model card: what an export is, where it comes from, and how it was proved."""

import contextlib
import datetime
import json
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import keras

import pa_keras
from pa_keras.exporters.agreement import Agreement, as_table
from pa_keras.models import checksum

_PACKAGES = (
    "tensorflow", "keras", "numpy", "ai-edge-litert", "litert-quantizer", "onnx", "tf2onnx",
    "onnxruntime",
)  # fmt: skip


def model_card(
    model: keras.Model,
    *,
    name: str,
    version: int,
    crop_fraction: float,
    run: str | None,
    metrics: dict[str, float],
    agreements: Sequence[Agreement],
    num_images: int,
    gallery: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """What whoever receives the export should know, ready for `json.dump`.

    Args:
        model: the embedding model.
        name: its name to a server.
        version: its version.
        crop_fraction: of the evaluation preprocessing.
        run: name of the run's folder. None: the model came as a file.
        metrics: of the run's last evaluation on its test classes, in [0, 1]; may be empty.
        agreements: of `measure_agreement`.
        num_images: test images that they were measured on.
        gallery: of `measure_gallery`, and k. Default None: the SavedModel has none.
    """
    height, width = model.input_shape[1:3]
    return {
        "name": name,
        "version": version,
        "what": "images to embeddings of unit length; the more alike, the larger the cosine",
        "run": run,
        "date": datetime.date.today().isoformat(),
        "input": {
            "channels": "RGB, 0..255",
            "height": height,
            "width": width,
            "crop_fraction": crop_fraction,
        },
        "output": {"name": "embedding", "dtype": "float32", "size": model.output_shape[1]},
        "metrics": metrics,
        "agreement": {"images": num_images, "artefacts": [a.as_json() for a in agreements]},
        "gallery": gallery,
        "model_checksum": checksum(model),
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    """Of what makes and checks exports, where it is installed."""
    versions = {"pa_keras": pa_keras.__version__}
    for package in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions


def write_model_card(folder: Path, card: dict[str, Any], agreements: Sequence[Agreement]) -> None:
    """Writes model_card.json and model_card.md into a folder.

    Args:
        folder: where to.
        card: of `model_card`.
        agreements: for the table in the Markdown.
    """
    (folder / "model_card.json").write_text(json.dumps(card, indent=2) + "\n")
    (folder / "model_card.md").write_text(_markdown(card, agreements), encoding="utf-8")


def _cost(gallery: dict[str, Any]) -> str:
    """What the rounding of a gallery does, for people."""
    if gallery["same_nearest"] is None:
        return "With one vector nothing was measured."
    lost = gallery["recall_at_1_lost"]
    recall = "not measured, no class has two items" if lost is None else f"{lost:+.2f} points"
    return (
        f"Of {gallery['queries']} of them as queries {100 * gallery['same_nearest']:.2f} % find "
        f"the nearest other that float32 finds; Recall@1 lost: {recall}."
    )


def _markdown(card: dict[str, Any], agreements: Sequence[Agreement]) -> str:
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
            f"- Gallery: {kept['size']} vectors in {kept['dtype']}, {kept['k']} neighbours an "
            f"answer. {_cost(kept)}"
        )
    versions = ", ".join(f"{package} {number}" for package, number in card["versions"].items())
    lines += [
        f"- Made with {versions}.",
        "",
        f"Agreement with the Keras model on {card['agreement']['images']} test images:",
        "",
        as_table(agreements),
        "",
        "Milliseconds are an image's, here; those of saved_model include decoding and "
        "preprocessing, the others do not. The MB of saved_model include the gallery.",
        "",
    ]
    return "\n".join(lines)
