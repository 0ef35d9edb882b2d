"""The names of settings, and the nearest one to a name or a value that is misspelt."""

import dataclasses
import difflib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

import jsonargparse
import yaml


def types_of(config_class: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The type of each setting by its dotted name."""
    for field in dataclasses.fields(config_class):
        if dataclasses.is_dataclass(field.type):
            yield from types_of(field.type, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, field.type


def dotted(settings: dict, prefix: str = "") -> dict[str, Any]:
    """Nested settings by their dotted names, such as {"data.image_size": 224}."""
    names: dict[str, Any] = {}
    for name, value in settings.items():
        is_group = isinstance(value, dict)
        names |= dotted(value, f"{prefix}{name}.") if is_group else {f"{prefix}{name}": value}
    return names


def unknown_settings(
    parser: jsonargparse.ArgumentParser, config_class: type, arguments: Sequence[str]
) -> str:
    """A line for each unknown setting on the command line or in a config, with its nearest name."""
    known = [name for name, _ in parser.get_defaults().items()] + ["help"]
    given = [a[2:].partition("=")[0] for a in arguments if a.startswith("--")]
    for file in _config_files(arguments):
        given += settings_in(file)
    dicts = [name for name, kind in types_of(config_class) if get_origin(kind) is dict]
    groups = {name.rpartition(".")[0] for name in known}
    lines = []
    for name in given:
        free = any(name.startswith(f"{each}.") for each in dicts)
        if name in known or name in groups or free:
            continue
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        same_leaf = [k for k in known if k.rpartition(".")[2] == name.rpartition(".")[2]]
        nearest = (same_leaf or close)[:1]
        if nearest:
            lines.append(f"There is no setting {name}. Did you mean {nearest[0]}?\n")
    return "".join(lines)


def misspelt_choices(config_class: type, arguments: Sequence[str]) -> str:
    """A line for each value that is none of its setting's choices but near to one."""
    given: dict[str, Any] = {}
    for file in _config_files(arguments):
        given |= settings_in(file)
    given |= dict(_pairs(arguments))
    lines = []
    for name, kind in types_of(config_class):
        value = given.get(name)
        choices = [c for each in (kind, *get_args(kind)) for c in get_args(each)]
        choices = [choice for choice in choices if isinstance(choice, str)]
        if isinstance(value, str) and choices and value not in choices:
            nearest = difflib.get_close_matches(value, choices, n=1, cutoff=0.5)
            lines += [f"{name}: there is no {value}. Did you mean {each}?\n" for each in nearest]
    return "".join(lines)


def _pairs(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Names and values of the command line, given as `--name=value` or as `--name value`."""
    for argument, following in itertools.zip_longest(arguments, arguments[1:], fillvalue=""):
        if argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
            yield name, value if equals else following


def _config_files(arguments: Sequence[str]) -> list[Path]:
    paths = [Path(argument.removeprefix("--config=")) for argument in arguments]
    return [path for path in paths if path.suffix in (".yaml", ".yml") and path.is_file()]


def settings_in(file: str | Path) -> dict[str, Any]:
    """The settings of a YAML file, or of YAML in its place, by their dotted names.

    There are none in what the parser refuses.
    """
    path = Path(file).expanduser()
    try:
        settings = yaml.safe_load(path.read_text() if path.is_file() else str(file))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return dotted(settings) if isinstance(settings, dict) else {}
