"""Finding a trained embedding model, and the settings it was trained with."""

from pathlib import Path
from typing import Any

import keras
import yaml

from pa_keras.training.run_folder import existing_run_folder


def load_trained(run: str | None, model: str | None) -> tuple[keras.Model, dict[str, Any]]:
    """The embedding model of a run folder or of a `.keras` file.

    Args:
        run: folder of a run, of which the best model is loaded.
        model: or a file; one of the two is given.

    Returns:
        The model, and the settings of its run as they stand in config.yaml, empty for a file.

    Raises:
        ValueError: neither or both are given; the model does not give (batch, D) of images.
        FileNotFoundError: there is no such run, it has no best model yet, or no such file.

    Example:
        >>> model, settings = load_trained(run="runs/glyphs-1", model=None)  # doctest: +SKIP
    """
    if (run is None) == (model is None):
        raise ValueError(
            f"Expected either a run or a model; received run={run!r} and model={model!r}. Give "
            "--run DIR, or --model FILE.keras."
        )
    settings: dict[str, Any] = {}
    path = Path(model or "")
    if run is not None:
        folder = existing_run_folder(run)
        settings = yaml.safe_load(folder.config.read_text())
        path = folder.best_model
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected a trained model in {path}; there is none. A run has one after its first "
            "evaluated epoch: let it train on with --resume."
        )
    loaded = keras.saving.load_model(path, compile=False)
    if len(loaded.input_shape) != 4 or len(loaded.output_shape) != 2:
        raise ValueError(
            "Expected a model of images (batch, height, width, 3) to embeddings (batch, D); "
            f"received {loaded.input_shape} to {loaded.output_shape}."
        )
    return loaded, settings
