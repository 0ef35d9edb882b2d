"""The threshold of a run: the classes to choose it on, and its place in the run's result."""

import errno
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pa_keras import files, plots
from pa_keras.config import EvaluateConfig
from pa_keras.datasets import Images
from pa_keras.evaluation.calibration import KEY, Calibration
from pa_keras.evaluation.evaluate import Evaluation
from pa_keras.evaluation.thresholds import Embedded, Thresholds, choose_threshold, expect_pairs
from pa_keras.models.checksum import checksum
from pa_keras.reports.subject import Report, Subject
from pa_keras.retrieval.error_rates import expect_rate
from pa_keras.runs.fingerprint import read_fingerprint
from pa_keras.runs.folder import RunFolder


@dataclass(frozen=True, eq=False)
class Measured:
    """A threshold with its error rates, and as `search` and `export` read it."""

    rates: Thresholds
    calibration: Calibration

    def report(self) -> Report:
        """The entries of the JSON file, and the table."""
        entries = {"thresholds": self.rates.as_json(), "calibration": self.calibration.as_json()}
        return entries, self.rates.as_table()


def expect_thresholds(config: EvaluateConfig) -> None:
    """Raises an error if the settings of thresholds do not fit, before any work is done."""
    expect_rate(config.false_match_rate)
    if config.thresholds_picture and not config.thresholds:
        raise ValueError("Expected --thresholds with --thresholds-picture; received the latter.")


def images_to_choose_on(subject: Subject) -> Images | None:
    """The held-out images of the run; None if half of the test classes are used, or no thresholds.

    Raises:
        ValueError: There are too few pairs for the wanted rate, or the classes have changed.
        FileNotFoundError: The run does not say which classes it held out.
    """
    config, dataset = subject.config, subject.dataset
    if not config.thresholds:
        return None
    held_out = None
    if subject.settings.get("training", {}).get("selection") == "held_out" and config.source.run:
        if dataset.validation is None:
            held_out = _held_out(RunFolder(Path(config.source.run)), dataset.training_images())
        else:
            held_out = _unseen(dataset.validation, dataset.train)
        held_out = subject.readable(held_out)
    expect_pairs(
        dataset.queries.labels,
        None if dataset.gallery is None else dataset.gallery.labels,
        None if held_out is None else held_out.labels,
        config.false_match_rate,
        config.seed,
    )
    return held_out


def measure(subject: Subject, found: Evaluation, held_out: Images | None) -> Measured:
    """Chooses the threshold on the held-out images, and measures it on the test images."""
    config, dataset = subject.config, subject.dataset
    gallery = dataset.gallery
    searched = () if gallery is None else (found.gallery_embeddings, gallery.labels)
    test = Embedded(found.query_embeddings, dataset.queries.labels, *searched)
    to_choose_on = None
    if held_out is not None:
        to_choose_on = Embedded(subject.embed(held_out), np.asarray(held_out.labels))
    rates = choose_threshold(test, to_choose_on, config.false_match_rate, config.seed)
    height, width = subject.model.input_shape[1:3]
    calibration = Calibration(
        threshold=rates.threshold,
        false_match_rate=config.false_match_rate,
        model=checksum(subject.model),
        crop_fraction=subject.crop_fraction,
        image_size=(height, width),
        details=rates.as_json(),
    )
    return Measured(rates, calibration)


def write(subject: Subject, found: Measured) -> None:
    """Draws the curves, and records the threshold in the run's result.json.

    It is not recorded if it was measured on other images than those of the run, or if the run is
    not finished, in use, or cannot be written to; a line says so.

    Raises:
        ValueError: The result.json is damaged.
        OSError: A file cannot be written; the old one is kept.
    """
    config = subject.config
    if config.thresholds_picture:
        plots.pair_curves(found.rates.sets(), Path(config.thresholds_picture))
    if config.source.run is not None:
        line = "The threshold is not recorded in the run, since these are other test images."
        if subject.has_images_of_the_run:
            line = _record(RunFolder(Path(config.source.run)), found.calibration)
        sys.stdout.write(f"{line}\n")


def _record(folder: RunFolder, calibration: Calibration) -> str:
    """Writes a calibration into the result.json, all else kept; returns what was done."""
    if not folder.result.exists():
        return f"{folder.path} is not finished, so its result does not record the threshold"
    try:
        with folder.locked():
            try:
                result = dict(json.loads(folder.result.read_text()))
            except (ValueError, TypeError) as error:
                raise ValueError(
                    f"Expected the result of the run in {folder.result}; it is damaged ({error}). "
                    "Restore it, or delete it and add --json FILE to record the threshold there."
                ) from error
            text = json.dumps({**result, KEY: calibration.as_json()}, indent=2) + "\n"
            files.save_whole(
                lambda path: Path(path).write_text(text), folder.result, files.START_AGAIN
            )
    except BlockingIOError:
        return f"another process trains in {folder.path}: its result does not record the threshold"
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        return f"{folder.path} cannot be written to, so its result does not record the threshold"
    return f"{folder.result} records the threshold, for search and export"


def _unseen(images: Images, train: Images | None) -> Images:
    """The images of a validation split whose classes are not training classes as well."""
    trained = set(() if train is None else train.class_names)
    unseen = [i for i, name in enumerate(images.class_names) if name not in trained]
    if len(unseen) < 2:
        raise ValueError(
            "Expected 2 classes or more of the split val that are not training classes, to choose "
            f"a threshold on; received {len(unseen)}. Give the model alone, which uses half of the "
            "test classes: --model FILE.keras --dataset NAME."
        )
    return images.take_classes(unseen)


def _held_out(folder: RunFolder, train: Images) -> Images:
    """The training images of the classes that the run put aside."""
    if not folder.images.exists():
        raise FileNotFoundError(
            f"Expected {folder.images}, which names the held-out classes of the run; there is no "
            "such file. Restore it, or give the model alone: --model FILE.keras --dataset NAME."
        )
    rows = read_fingerprint(folder.images).items()
    names = {name for (part, _), (name, _) in rows if part == "held out"}
    missing = names - set(train.class_names)
    if missing:
        raise ValueError(
            f"Expected the {len(names)} held-out classes of {folder.path} among the training "
            f"classes; received none of the name {min(missing)!r}. Give the images and the split "
            "of the run, or the model alone: --model FILE.keras --dataset NAME."
        )
    return train.take_classes([i for i, name in enumerate(train.class_names) if name in names])
