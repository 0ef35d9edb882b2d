"""Checks settings from files and from the command line, and makes a config of them."""

import argparse
import difflib
from collections.abc import Iterable, Sequence
from typing import Any, get_args

from pa_keras.cli.settings import Config, Setting, build, dotted, entries_of, settings_of


def make_config(config_class: type[Config], layers: Sequence[dict[str, Any]]) -> Config:
    """Checks settings, converts them to their types, and makes the config.

    Args:
        config_class: The dataclass to make.
        layers: Settings, nested or by dotted names. A later layer overrides the earlier ones.
            Text values are read as YAML.

    Returns:
        The config. Settings that no layer gives have their defaults.

    Raises:
        ValueError: If a setting is unknown or missing, or a value has a wrong type.

    Example:
        >>> from pa_keras.config import ModelConfig
        >>> config = make_config(ModelConfig, [{"backbone": "conv4"}, {"embedding_size": "64"}])
        >>> config.backbone, config.embedding_size
        ('conv4', 64)
    """
    own = {setting.name: setting for setting in settings_of(config_class)}
    entries = {setting.name: setting for setting in entries_of(config_class)}
    known = own | entries
    dictionaries = frozenset(name for name, each in own.items() if isinstance(each.default, dict))
    given: dict[str, Any] = {}
    for layer in layers:
        given |= dotted(layer, keep=dictionaries)
    unknown = unknown_settings(given, known)
    if unknown:
        raise ValueError(unknown)
    values = {name: _converted(known[name], value) for name, value in given.items()}
    missing = [name for name, setting in own.items() if setting.is_required and name not in given]
    if missing:
        raise ValueError(f"Expected --{' and --'.join(missing)}; received none.")
    for name in [name for name in values if name in entries]:
        dictionary, _, entry = name.partition(".")
        values[dictionary] = {**values.get(dictionary, {}), entry: values[name]}
    return build(config_class, values)


def unknown_settings(names: Iterable[str], known: Iterable[str]) -> str:
    """Describes each unknown name and suggests the nearest known one; "" if all are known."""
    known = list(known)
    sentences = []
    for name in names:
        if name in known:
            continue
        group = [each for each in known if each.startswith(f"{name}.")]
        same_leaf = [each for each in known if each.rpartition(".")[2] == name.rpartition(".")[2]]
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        sentences.append(f"There is no setting {name}.")
        sentences += [f"Did you mean {each}?" for each in (group or same_leaf or close)[:1]]
    return " ".join(sentences)


def _converted(setting: Setting, value: Any) -> Any:
    """Returns the value, converted to the type of its setting."""
    import jsonargparse  # here, so that --help does not wait for it

    # Each setting has its own parser: a common one would read `settings.seed` as part of
    # `settings`.
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=setting.type)
    try:
        converted = parser.parse_object({"value": value}, defaults=False)["value"]
    except argparse.ArgumentError:
        raise ValueError(_wrong_value(setting, value)) from None
    if converted is None and type(None) not in get_args(setting.type):
        raise ValueError(_wrong_value(setting, value))
    return converted


def _wrong_value(setting: Setting, value: Any) -> str:
    for each in value if isinstance(value, list) else [value]:
        close = difflib.get_close_matches(str(each), setting.words, n=1, cutoff=0.5)
        if close and each not in setting.words:
            return f"{setting.name}: there is no {each}. Did you mean {close[0]}?"
    expected = f"one of {', '.join(setting.words)}" if setting.words else setting.type_text
    return f"{setting.name}: Expected {expected}; received {'null' if value is None else value}."
