"""The experiments and recipes that ship with the package, and where they stand among settings."""

from collections.abc import Sequence
from pathlib import Path

from pa_keras.cli import suggestions


def folder() -> Path:
    """The folder of the experiments that ship with the package: `configs/`."""
    package = Path(__file__).parents[1]
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def with_paths(arguments: Sequence[str]) -> list[str]:
    """The arguments with the name of a shipped experiment after --config replaced by its path."""
    files, others = split(arguments)
    paths = [
        str(folder() / f"{name}.yaml")
        if not Path(name).exists() and (folder() / f"{name}.yaml").exists()
        else name
        for name in files
    ]
    return [*(f"--config={path}" for path in paths), *others]


def with_recipes(arguments: Sequence[str]) -> list[str]:
    """The arguments, the files first, with the settings of each recipe below what names it.

    The recipe of a file stands below that file; one on the command line above the files and below
    the other arguments, unless the files are of that recipe anyway, whose settings then stand.

    Example:
        >>> with_recipes(["--seed=1", "--config=my.yaml"])
        ['--config=my.yaml', '--seed=1']
    """
    files, others = split(arguments)
    read: list[str] = []
    recipe = None
    for file in files:
        own = suggestions.settings_in(file).get("recipe")
        recipe = own or recipe
        read += [*_file(own), file]
    for previous, argument in zip(["", *others], others, strict=False):
        if argument.startswith("--recipe=") or previous == "--recipe":
            asked = argument.removeprefix("--recipe=")
            read += _file(asked) if asked != recipe else []
    return [*(f"--config={file}" for file in read), *others]


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The values of --config, and all the other arguments."""
    files, others = [], []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "--config" and rest:
            files.append(rest.pop(0))
        elif argument.startswith("--config="):
            files.append(argument.removeprefix("--config="))
        else:
            others.append(argument)
    return files, others


def _file(recipe: str | None) -> list[str]:
    """The file of a recipe; none for a misspelt one, which the parser then refuses."""
    file = folder() / "recipes" / f"{recipe}.yaml"
    return [str(file)] if file.exists() else []
