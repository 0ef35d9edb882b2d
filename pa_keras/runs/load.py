"""Loading a trained embedding model, the settings of its run, and its data."""

import contextlib
import logging
import zipfile
from pathlib import Path
from typing import Any, Literal

import keras
import yaml

from pa_keras.datasets import Dataset, Images, hold_out_classes
from pa_keras.evaluation.matching import MatchThreshold, match_threshold
from pa_keras.models import expect_embedding_model, in_float32
from pa_keras.pipelines.image_checks import OnBadImage
from pa_keras.runs.data import load_checked
from pa_keras.runs.folder import RunFolder, existing_run_folder

logger = logging.getLogger(__name__)


def load_model(path: str | Path) -> keras.Model:
    """Loads the embedding model of a run, or of a `.keras` file, to use it with `embed_images`.

    Args:
        path: Folder of a run, whose best model is loaded, or a `.keras` file.

    Returns:
        Embedding model from images (B, H, W, 3) in 0..255 to (B, D), in float32 as in exports. Its
        attribute `crop_fraction` is that of the run, or 0.875 for a file, which does not hold it.
        Keras does not save the attribute with the model.

    Raises:
        FileNotFoundError: There is nothing at the path, or a folder without a trained model.
        ValueError: The file is damaged or of another kind, or holds another model, such as one to
            train, with proxies.

    Example:
        >>> model = load_model("runs/photos")  # doctest: +SKIP
        >>> vectors = embed_images(model, ["a.jpg", "b.jpg"])  # doctest: +SKIP
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(
            f"Expected the folder of a run, or a .keras file; there is no {path}. Check its path."
        )
    loaded, settings = load_trained(*run_or_file(path))
    model = in_float32(loaded)
    model.crop_fraction = crop_fraction_of(settings, None)
    if path.is_file():
        of_run = _crop_fraction_beside(path)
        if of_run not in (None, model.crop_fraction):
            logger.warning(
                "%s is loaded as a file, with crop_fraction %s; its run has %s. Load the run: %s.",
                path,
                model.crop_fraction,
                of_run,
                path.parent,
            )
    return model


def _crop_fraction_beside(path: Path) -> float | None:
    """The crop fraction of the run whose folder a file is in; None if it is in no such folder."""
    # It is only for a warning, and another program may have written a config.yaml there.
    with contextlib.suppress(OSError, ValueError, AttributeError, TypeError):
        return crop_fraction_of(_settings(RunFolder(path.parent).config), None)
    return None


def run_or_file(path: str | Path) -> tuple[str | None, str | None]:
    """Returns a path as the arguments of `load_trained`: a folder is a run, else it is a file."""
    path = Path(path).expanduser()
    return (str(path), None) if path.is_dir() else (None, str(path))


def load_trained(run: str | None, model: str | None) -> tuple[keras.Model, dict[str, Any]]:
    """The embedding model of a run folder or of a `.keras` file.

    Args:
        run: Folder of a run, whose best model is loaded. None: a file is given.
        model: A `.keras` file. None: a run is given.

    Returns:
        The model, and the settings in the config.yaml of its run, empty for a file.

    Raises:
        ValueError: Neither or both are given; the file is damaged or of another kind; the model
            does not map images to (batch, D).
        FileNotFoundError: There is no such run, it has no best model yet, or no such file.

    Example:
        >>> model, settings = load_trained(run="runs/glyphs-1", model=None)  # doctest: +SKIP
    """
    if (run is None) == (model is None):
        raise ValueError(
            f"Expected either a run or a model; received run={run!r} and model={model!r}. Give "
            "--run DIR, or --model FILE.keras."
        )
    settings = {} if run is None else _settings(existing_run_folder(run).config)
    path = model_path(run, model)
    if run is not None and not path.is_file():
        raise FileNotFoundError(
            f"Expected a trained model in {path}; there is no such file. A run has one after its "
            "first evaluated epoch: continue it with --resume."
        )
    loaded = _loaded(path)
    expect_embedding_model(loaded)
    return loaded, settings


def _settings(path: Path) -> dict[str, Any]:
    try:
        settings = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        settings = " ".join(str(error).split())
    if not isinstance(settings, dict):
        raise ValueError(
            f"Expected the settings of a run in {path}; received {settings or 'an empty file'}. If "
            "you have its model, give that alone: --model FILE.keras --dataset NAME."
        )
    return settings


def _loaded(path: Path) -> keras.Model:
    if path.is_dir():
        is_run = RunFolder(path).config.exists()
        advice = f"Give that run: --run {path}" if is_run else "Give the .keras file itself"
        raise FileNotFoundError(
            f"Expected --model to be a .keras file; {path} is a folder. {advice}."
        )
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected --model to be a .keras file; there is no file {path}. Check its path, or "
            "give the folder of a run: --run DIR."
        )
    try:
        if path.suffix == ".keras" and not zipfile.is_zipfile(path):
            raise ValueError("it is not a zip archive, as .keras files are")
        return keras.saving.load_model(path, compile=False)
    # What Keras raises depends on where it fails: at the archive, its files, or a class.
    except (ValueError, TypeError, KeyError, OSError, ImportError) as error:
        reason = " ".join(str(error).split()).rpartition("Exception encountered: ")[2]
        raise ValueError(
            f"Expected a model that Keras {keras.__version__} can load; {path}, of "
            f"{path.stat().st_size:,} bytes, is not: {reason:.300}. The file may be damaged, of "
            "another kind, or have layers of classes that are not imported here."
        ) from error


def model_path(run: str | None, model: str | None) -> Path:
    """The file that `load_trained` opens: the best model of the run, or the given file."""
    return Path(model or "") if run is None else existing_run_folder(run).best_model


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
        _first_given(dataset, of_run.get("dataset")),
        _first_given(data_dir, of_run.get("data_dir")),
        on_bad_image=_first_given(on_bad_image, of_run.get("on_bad_image"), "error"),
        test_fraction=_first_given(test_fraction, of_run.get("test_fraction"), 0.5),
        crop_to_boxes=_first_given(crop_to_boxes, of_run.get("crop_to_boxes"), False),
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


def crop_fraction_of(settings: dict[str, Any], given: float | None) -> float:
    """The given crop fraction, else that of the run's settings, else 0.875."""
    return float(_first_given(given, settings.get("data", {}).get("crop_fraction"), 0.875))


def on_bad_image_of(settings: dict[str, Any], given: OnBadImage | None) -> OnBadImage:
    """The given "error" or "skip", else that of the run's settings, else "error"."""
    return _first_given(given, settings.get("data", {}).get("on_bad_image"), "error")


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


def _first_given(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)
