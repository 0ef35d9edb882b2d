"""Loading the data that a trained model was trained for, and the threshold of its run."""

from typing import Any, Literal

from pa_keras.datasets import Dataset, Images, hold_out_classes
from pa_keras.evaluation.matching import MatchThreshold, match_threshold
from pa_keras.pipelines.image_checks import OnBadImage
from pa_keras.runs.data import load_checked
from pa_keras.runs.folder import existing_run_folder
from pa_keras.runs.load import first_given


def load_data(
    settings: dict[str, Any],
    *,
    dataset: str | None = None,
    data_dir: str | None = None,
    on_bad_image: OnBadImage | None = None,
    test_fraction: float | None = None,
    crop_to_boxes: bool | None = None,
    test_only: bool = True,
) -> Dataset:
    """The data set that a model was trained for, or another, without images that do not decode.

    Args:
        settings: Settings of the run, from `load_trained`, which replace arguments that are None.
            They do not apply if `dataset` is given.
        dataset: Name of the data set, as in `load_checked`. None: that of the run.
        data_dir: Folder or file of its images. None: as in the run.
        on_bad_image: "error" or "skip". None: as in the run, else "error".
        test_fraction: Share of the classes for the test; 1: all. None: as in the run, else 0.5.
        crop_to_boxes: Whether to crop Cars-196 to its boxes. None: as in the run, else False.
        test_only: Whether to check only the test images. Default True.

    Raises:
        ValueError: Neither a run nor a data set is given, or `load_checked` raises it.
        FileNotFoundError: Files do not exist.
    """
    if not (dataset or settings):
        raise ValueError("Expected a dataset to measure the model on; add --dataset NAME.")
    of_run = {} if dataset else {**settings, **settings.get("data", {})}
    loaded, _, _ = load_checked(
        first_given(dataset, of_run.get("dataset")),
        first_given(data_dir, of_run.get("data_dir")),
        on_bad_image=first_given(on_bad_image, of_run.get("on_bad_image"), "error"),
        test_fraction=first_given(test_fraction, of_run.get("test_fraction"), 0.5),
        crop_to_boxes=first_given(crop_to_boxes, of_run.get("crop_to_boxes"), False),
        test_only=test_only,
    )
    return loaded


def trained_classes(settings: dict[str, Any], dataset: Dataset) -> Images | None:
    """The training images without the classes that the run held out; None if there are none.

    Args:
        settings: Settings of the run, from `load_trained`; empty for another data set.
        dataset: The data set.
    """
    train, training = dataset.train, settings.get("training", {})
    held_out = training.get("selection") == "held_out" and dataset.validation is None
    if train is None or not held_out:
        return train
    return hold_out_classes(train, training["held_out_fraction"], seed=settings["seed"])[0]


def on_bad_image_of(settings: dict[str, Any], given: OnBadImage | None) -> OnBadImage:
    """The given "error" or "skip", else that of the run's settings, else "error"."""
    return first_given(given, settings.get("data", {}).get("on_bad_image"), "error")


def load_threshold(
    min_similarity: float | Literal["calibrated"] | None,
    calibration_file: str | None,
    run: str | None,
) -> MatchThreshold | None:
    """The threshold of a match that a user asked for; a calibrated one is that of the run.

    Args:
        min_similarity: As in `match_threshold`.
        calibration_file: As in `match_threshold`.
        run: Folder of the run whose result.json holds the calibrated threshold. None: the model is
            a file.

    Raises:
        FileNotFoundError: There is no such run, or no such file.
        ValueError: As in `match_threshold`.
    """
    is_of_run = min_similarity == "calibrated" and calibration_file is None and run is not None
    result = existing_run_folder(run).result if is_of_run else None
    return match_threshold(min_similarity, calibration_file, result)
