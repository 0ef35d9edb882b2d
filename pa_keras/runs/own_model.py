"""Starting a run from an embedding model that was trained before."""

from collections.abc import Callable
from pathlib import Path

import keras

from pa_keras.models import all_layers
from pa_keras.runs.folder import existing_run_folder
from pa_keras.runs.load import load_trained


def own_model(weights: str | None) -> Path | None:
    """The `.keras` file that `model.weights` names, itself or by its run folder; else None.

    Raises:
        FileNotFoundError: It names a folder without a run, a run without a model yet, or a `.keras`
            file that does not exist.
    """
    if weights is None or weights == "imagenet":
        return None
    path = Path(weights)
    is_folder = path.is_dir()
    if not is_folder and path.suffix != ".keras":
        return None  # the weights of a backbone
    path = existing_run_folder(weights).best_model if is_folder else path
    if not path.is_file():
        advice = "Continue that run with --resume first" if is_folder else "Check the path"
        raise FileNotFoundError(
            f"Expected model.weights to name a trained model; there is no file {path}. {advice}."
        )
    return path


def load_like(
    file: Path, build: Callable[[str | None], keras.Model], backbone: str, embedding_size: int
) -> keras.Model:
    """A new embedding model, possibly of another image size, with all weights of a trained one.

    It is built again and not taken from the file, since the padding of some networks depends on the
    size of the images, and the dtype policy on the settings.

    Args:
        file: The `.keras` file of the trained model.
        build: Function from the weights of the backbone to a model of the settings.
        backbone: Name of the backbone in the settings, for the messages.
        embedding_size: Embedding size in the settings.

    Raises:
        ValueError: The trained model has another embedding size or backbone, or is damaged.
    """
    trained, _ = load_trained(None, str(file))
    found = trained.output_shape[-1]
    if found != embedding_size:
        raise ValueError(
            f"Expected model.embedding_size={found}, as in {file}; received {embedding_size}. Give "
            f"--model.embedding_size {found}: another size would need a new embedding layer."
        )
    # Built for ImageNet weights, Keras' EfficientNets have one more layer that scales pixels.
    possible: list[str | None] = [None]
    if backbone.startswith("efficientnetb"):
        possible.append("imagenet")
    for weights in possible:
        model = build(weights)
        if _structure(model) == _structure(trained):
            model.set_weights(trained.get_weights())
            return model
    raise ValueError(
        f"Expected the model {file} to have the backbone {backbone}, as in model.backbone; its "
        "weights have other shapes. Give --model.backbone as in the config.yaml of the run that "
        "it comes from and, for a transformer, the same image size."
    )


def _structure(model: keras.Model) -> tuple[list[tuple[int, ...]], int]:
    """The shapes of the weights, and how many layers scale the pixels."""
    shapes = [tuple(weight.shape) for weight in model.weights]
    scaling = [layer for layer in all_layers(model) if isinstance(layer, keras.layers.Rescaling)]
    return shapes, len(scaling)
