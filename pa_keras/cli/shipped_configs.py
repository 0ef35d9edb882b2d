"""Reads config files, including those that ship with the package, and their recipes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def folder() -> Path:
    """Returns the folder of the experiments that ship with the package: `configs/`."""
    package = Path(__file__).parents[1]
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def files_of(dataset: str) -> list[str]:
    """Returns the config file of a data set; an empty list if none ships with the package."""
    file = folder() / f"{dataset}.yaml"
    return [str(file)] if file.exists() else []


def layers(files: Sequence[str], given: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the settings of config files and of their recipes, lowest priority first.

    A file overrides its own recipe. A recipe on the command line overrides the files, unless they
    use the same recipe already. The other arguments override everything.

    Args:
        files: Paths, names of experiments that ship with the package, or YAML mappings.
        given: Settings of the command line, which become the last layer.

    Raises:
        ValueError: If a file is missing or has no settings.

    Example:
        >>> layers(["{seed: 1}"], {"seed": 2})
        [{}, {'seed': 1}, {'seed': 2}]
    """
    result: list[dict[str, Any]] = []
    recipe = None
    for file in files:
        settings = read(file)
        own = settings.get("recipe")
        recipe = own or recipe
        result += [_recipe(own), settings]
    asked = given.get("recipe")
    if asked != recipe:
        result.append(_recipe(asked))
    return [*result, given]


def read(file: str) -> dict[str, Any]:
    """Returns the settings of a config file, which is given as in `layers`.

    Raises:
        ValueError: If the file is missing or has no settings.
    """
    import jsonargparse  # here, so that --help does not wait for it
    import yaml

    try:
        text = file if "\n" in file or file.startswith("{") else _text_of(file)
        settings = jsonargparse.get_loader("yaml")(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"Expected settings in YAML; {file} cannot be read: {reason}.") from None
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise ValueError(
            f"Expected a YAML file of settings, or the name of an experiment; received {file}."
        )
    return settings


def _text_of(file: str) -> str:
    """Returns the text of a file or of a shipped experiment; other text is YAML itself."""
    path, shipped = Path(file).expanduser(), folder() / f"{file}.yaml"
    if path.is_file():
        return path.read_text()
    return shipped.read_text() if shipped.is_file() else file


def _recipe(name: str | None) -> dict[str, Any]:
    """Returns the settings of a recipe; {} for an unknown one, which is reported later."""
    file = folder() / "recipes" / f"{name}.yaml"
    return read(str(file)) if file.exists() else {}
