"""`python -m pa_keras.export`: exports a trained model and checks the agreement."""

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pa_keras import cli
from pa_keras.config import ExportConfig, ModelSource

if TYPE_CHECKING:
    import keras

    from pa_keras.datasets import Dataset
    from pa_keras.evaluation.matching import MatchThreshold
    from pa_keras.exporters import Gallery
    from pa_keras.exporters.publishing import ExportPlace
    from pa_keras.pipelines.image_checks import OnBadImage

# Not __name__, which is __main__ under python -m and has no handler.
logger = logging.getLogger("pa_keras.export")

PROGRAM = "python -m pa_keras.export"


@dataclass(frozen=True)
class _Search:
    """What the SavedModel searches, and when a neighbour is a match."""

    gallery: "Gallery"
    k: int
    threshold: "MatchThreshold | None"

    @property
    def min_similarity(self) -> float | None:
        return None if self.threshold is None else self.threshold.min_similarity


@dataclass(frozen=True, eq=False)
class _Subject:
    """The model to export, and the images to compare the exports on.

    Attributes:
        config: Settings of the export.
        model: The embedding model, in float32.
        crop_fraction: Crop fraction of the evaluation preprocessing.
        on_bad_image: What to do with images that cannot be decoded.
        dataset: The images.
        search: The gallery that the SavedModel searches, or None.
    """

    config: ExportConfig
    model: "keras.Model"
    crop_fraction: float
    on_bad_image: "OnBadImage"
    dataset: "Dataset"
    search: _Search | None


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the settings and exports."""
    cli.run_from(
        arguments,
        ExportConfig,
        PROGRAM,
        "Exports a trained embedding model to SavedModel for TensorFlow Serving, TFLite or ONNX. "
        "Each export is compared with the Keras model on real images and fails if it disagrees.",
        _run,
    )


def _run(config: ExportConfig) -> None:
    # TensorFlow is imported only here, so that --help does not wait for it.
    from pa_keras.exporters.publishing import ExportPlace, publish, staging

    _expect_settings(config)
    source = config.source
    place = ExportPlace(Path(config.out), config.name or _name_of(source), config.version)
    place.expect_new(config.force)
    metrics = _metrics_of(source.run)
    subject = _load(config)
    with staging(place) as staged:
        _write(subject, staged)
        _prove(subject, staged, metrics)
        publish(staged, place, config.force)
    where = place.saved_model if "saved_model" in config.formats else place.files
    sys.stdout.write(f"{where}: {', '.join(config.formats)}; see {place.files}/model_card.md\n")


def _expect_settings(config: ExportConfig) -> None:
    """Raises, before any work, if settings are out of range or do not fit together."""
    from pa_keras.evaluation.matching import expect_matching
    from pa_keras.exporters.formats import expect_installed
    from pa_keras.exporters.serving_files import expect_batch_sizes

    if not config.formats or len(set(config.formats)) < len(config.formats):
        raise ValueError(
            f"Expected one or more different formats; received {', '.join(config.formats)}."
        )
    if config.gallery and "saved_model" not in config.formats:
        raise ValueError(
            "Expected saved_model among the formats for --gallery, since no other format searches; "
            f"received {', '.join(config.formats)}."
        )
    if config.matching.min_similarity is not None and not config.gallery:
        raise ValueError(
            "Expected a gallery for --min-similarity, since it decides which of its items match; "
            "received none. Give --gallery, or leave --min-similarity out."
        )
    expect_matching(config.matching.min_similarity, config.matching.calibration)
    for name in ("calibration_images", "tflite_batch_size", "report_images"):
        value = getattr(config, name)
        if value is not None and value < 1:
            raise ValueError(f"Expected {name} of 1 or more; received {value}.")
    expect_batch_sizes(config.batch_sizes)
    expect_installed(config.formats)


def _name_of(source: ModelSource) -> str:
    return Path(source.run).resolve().name if source.run else Path(source.model or "model").stem


def _load(config: ExportConfig) -> _Subject:
    """Loads the model, the images and the gallery."""
    from pa_keras.models import checksum, in_float32
    from pa_keras.runs.load import crop_fraction_of, load_trained
    from pa_keras.runs.load_data import load_data, load_threshold, on_bad_image_of

    source, matching = config.source, config.matching
    threshold = load_threshold(matching.min_similarity, matching.calibration, source.run)
    trained, settings = load_trained(source.run, source.model)
    model = in_float32(trained)
    if model is not trained:
        logger.info("The model computes in mixed precision; a float32 copy of it is exported.")
    crop_fraction = crop_fraction_of(settings, source.crop_fraction)
    if threshold is not None:
        threshold.expect_model(checksum(model), crop_fraction)
    on_bad_image = on_bad_image_of(settings, source.on_bad_image)
    dataset = load_data(
        settings,
        dataset=config.data.dataset,
        data_dir=config.data.data_dir,
        on_bad_image=on_bad_image,
        test_fraction=config.data.test_fraction,
        crop_to_boxes=config.data.crop_to_boxes,
    )
    if "tflite_int8" in config.formats and dataset.train is None:
        raise ValueError(
            "Expected training images to calibrate tflite_int8 with; the data set "
            f"{dataset.name!r} has only test images. Leave tflite_int8 out, or give a data set "
            "with a split train."
        )
    search = None
    if config.gallery is not None:
        gallery = _load_gallery(config, model, crop_fraction, on_bad_image)
        search = _Search(gallery, config.k, threshold)
    return _Subject(config, model, crop_fraction, on_bad_image, dataset, search)


def _load_gallery(
    config: ExportConfig, model: "keras.Model", crop_fraction: float, on_bad_image: "OnBadImage"
) -> "Gallery":
    """Reads the gallery from an .npz, or embeds its images."""
    from pa_keras.datasets import images_at
    from pa_keras.evaluation.embeddings_file import ids_of
    from pa_keras.evaluation.evaluate import embed_dataset_images
    from pa_keras.exporters.gallery import Gallery, expect_k, read_gallery
    from pa_keras.models import checksum
    from pa_keras.pipelines import check_images

    path = str(config.gallery)
    if path.endswith(".npz"):
        found = read_gallery(path, checksum(model), crop_fraction, config.gallery_dtype)
        expect_k(config.k, len(found))
        return found
    images = images_at(path)
    images = images.take(check_images(images.paths, on_bad_image).good)
    expect_k(config.k, len(images))
    embeddings = embed_dataset_images(model, images, crop_fraction)
    ids = ids_of(images.paths)
    return Gallery(embeddings, ids, images.labels, images.class_names, config.gallery_dtype)


def _write(subject: _Subject, staged: "ExportPlace") -> None:
    """Writes all formats."""
    from pa_keras.exporters.formats import calibration_images, write_file, write_served

    config, search = subject.config, subject.search
    calibration = None
    if "tflite_int8" in config.formats:
        calibration = calibration_images(
            subject.dataset.training_images(),
            config.calibration_images,
            image_size=subject.model.input_shape[1:3],
            crop_fraction=subject.crop_fraction,
            on_bad_image=subject.on_bad_image,
        )
    for kind in config.formats:
        logger.info("Exporting %s.", kind)
        if kind == "saved_model":
            write_served(
                staged,
                subject.model,
                crop_fraction=subject.crop_fraction,
                batch_sizes=config.batch_sizes,
                gallery=None if search is None else search.gallery,
                k=config.k,
                min_similarity=None if search is None else search.min_similarity,
            )
            continue
        write_file(
            staged,
            subject.model,
            kind,
            crop_fraction=subject.crop_fraction,
            calibration_images=calibration,
            input_dtype=config.tflite_input,
            batch_size=config.tflite_batch_size,
        )


def _prove(subject: _Subject, staged: "ExportPlace", metrics: dict[str, float]) -> None:
    """Compares every format with Keras, writes the model card, and raises if one disagrees."""
    from pa_keras import exporters
    from pa_keras.datasets import sample_classes
    from pa_keras.exporters.formats import path_of
    from pa_keras.runs.load import model_path

    config, model, dataset = subject.config, subject.model, subject.dataset
    source, search = config.source, subject.search
    if config.report_images is not None:
        dataset = sample_classes(dataset, config.report_images)
    logger.info("Comparing with Keras on %d test images.", len(dataset.queries))
    artefacts = [exporters.load_artefact(path_of(staged, kind), kind) for kind in config.formats]
    agreements = exporters.measure_agreement(
        exporters.keras_artefact(model, model_path(source.run, source.model).stat().st_size),
        artefacts,
        dataset.queries,
        dataset.gallery,
        image_size=model.input_shape[1:3],
        crop_fraction=subject.crop_fraction,
    )
    sys.stdout.write(exporters.as_table(agreements) + "\n")
    matches = None
    if search is not None and search.threshold is not None:
        place = config.formats.index("saved_model")
        agreement = exporters.measure_matches(
            artefacts[place],
            model,
            dataset.queries,
            search.gallery,
            min_similarity=search.threshold.min_similarity,
            cosine_min=agreements[1 + place].cosine_min,
            crop_fraction=subject.crop_fraction,
        )
        matches = exporters.Matches(search.threshold, agreement)
        sys.stdout.write(f"matched: {agreement.as_line()}\n")
    try:
        exporters.expect_agreement(agreements)
        if matches is not None:
            exporters.expect_matches(matches.agreement)
    except ValueError as error:
        if not config.allow_disagreement:
            raise ValueError(
                f"{error} Nothing was written. Leave that format out, or export it anyway with "
                "--allow-disagreement."
            ) from error
        logger.warning("Exported anyway: %s", error)
    run = Path(source.run).resolve().name if source.run else None
    identity = exporters.Identity(staged.name, staged.version, run, metrics)
    gallery = None
    if search is not None:
        gallery = {**exporters.measure_gallery(search.gallery), "k": search.k}
    report = exporters.Report(agreements, len(dataset.queries), gallery, matches)
    card = exporters.model_card(model, subject.crop_fraction, identity, report)
    exporters.write_model_card(staged.files, card)


def _metrics_of(run: str | None) -> dict[str, float]:
    """Returns the metrics of the run's last evaluation; {} if there was none."""
    from pa_keras.runs.folder import RunFolder

    path = RunFolder(Path(run or "")).result
    if not run or not path.exists():
        return {}
    try:
        metrics = json.loads(path.read_text())["metrics"]
        return {name: float(value) for name, value in metrics.items()}
    # Broken JSON and broken UTF-8 raise a ValueError.
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"Expected the metrics of the run in {path}; received {error!r}. Delete the file, or "
            "let fit --resume write it again."
        ) from error


if __name__ == "__main__":
    main()
