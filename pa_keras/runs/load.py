"""Loading a trained embedding model, and the settings of its run."""

import contextlib
import logging
import zipfile
from pathlib import Path
from typing import Any

import keras

from pa_keras.layers import CrossBatchMemory, Proxies
from pa_keras.models import expect_embedding_model, in_float32
from pa_keras.runs.folder import RunFolder, existing_run_folder
from pa_keras.training.embedding_part import embedding_part

logger = logging.getLogger(__name__)


def load_model(path: str | Path) -> keras.Model:
    """Loads the embedding model of a run, or of a `.keras` file, to use it with `embed_images`.

    Args:
        path: Folder of a run, whose best model is loaded, or a `.keras` file, which may be of
            another backend. Of a model to train, such as one of `with_proxies`, the embedding model
            is returned.

    Returns:
        Embedding model from images (B, H, W, 3) in 0..255 to (B, D), in float32 as in exports. Its
        attribute `crop_fraction` is that of the run, or 0.875 for a file, which does not hold it.
        Keras does not save the attribute with the model.

    Raises:
        FileNotFoundError: There is nothing at the path, or a folder without a trained model.
        ValueError: The file is damaged or of another kind, or does not hold an embedding model.

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
    config = RunFolder(path.parent).config
    if config.is_file():
        # It is only for a warning, and another program may have written a config.yaml there.
        with contextlib.suppress(OSError, ValueError, AttributeError, TypeError):
            return crop_fraction_of(_settings(config), None)
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
        The model, or the embedding model inside a model to train; and the settings in the
        config.yaml of its run, empty for a file.

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
    model_to_embed = _embedding_model(_loaded(path), path)
    expect_embedding_model(model_to_embed)
    return model_to_embed, settings


def _settings(path: Path) -> dict[str, Any]:
    import yaml  # here, as a model file needs Keras alone

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


def _embedding_model(loaded: keras.Model, path: Path) -> keras.Model:
    """The model itself, or the embedding model inside a model to train."""
    layers = loaded.layers if isinstance(loaded, keras.Model) else []
    if not any(isinstance(layer, Proxies | CrossBatchMemory) for layer in layers):
        return loaded
    logger.info("%s holds the model to train. Its embedding model is used.", path)
    # Not `layers`, which leave out operations that are none, such as a division of the pixels.
    match list(getattr(loaded, "operations", layers)):
        case [keras.layers.InputLayer(), keras.Model() as inner, Proxies() | CrossBatchMemory()]:
            return inner  # of `with_proxies` or `with_memory`
    return embedding_part(loaded)


def model_path(run: str | None, model: str | None) -> Path:
    """The file that `load_trained` opens: the best model of the run, or the given file."""
    return Path(model or "") if run is None else existing_run_folder(run).best_model


def crop_fraction_of(settings: dict[str, Any], given: float | None) -> float:
    """The given crop fraction, else that of the run's settings, else 0.875."""
    return float(first_given(given, settings.get("data", {}).get("crop_fraction"), 0.875))


def first_given(*values: Any) -> Any:
    """The first value that is not None; None if all are."""
    return next((value for value in values if value is not None), None)
