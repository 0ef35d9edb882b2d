"""The command line of a config: argparse reads the words, `checks` converts them to settings.

The options are generated from the config dataclass: `--data.image_size` or `--data.image-size`,
`--name a b` for a list, `--name` or `--name=false` for a switch.
"""

import argparse
import difflib
import itertools
import json
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import yaml

from pa_keras.cli import shipped_configs
from pa_keras.cli.actions import ListAction, SwitchBeforeValues
from pa_keras.cli.checks import make_config, unknown_settings
from pa_keras.cli.settings import Config, Setting, entries_of, nested, settings_of


class Parser(argparse.ArgumentParser):
    """A parser that reports an error in one line and exits with code 2."""

    def __init__(self, **options: Any) -> None:
        # Abbreviations are off, so that `--recip` is reported as a misspelt `--recipe`.
        super().__init__(**options, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Writes the message and exits; argparse calls this."""
        found = re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message)
        if found:
            close = difflib.get_close_matches(found[1], re.findall(r"\w+", found[2]), n=1)
            message += "".join(f". Did you mean {each}?" for each in close)
        end = "" if message.endswith((".", "?")) else "."
        self.exit(2, f"{self.prog}: {message}{end} See {self.prog} --help.\n")


def make_parser(config_class: type, program: str, description: str) -> Parser:
    """Makes the parser of a config: --config for YAML files, and an option for each setting.

    Args:
        config_class: Dataclass whose fields have docstrings, which become the help.
        program: Name of the command, such as "python -m pa_keras.fit".
        description: First paragraph of --help.

    Returns:
        The parser. More options can be added to it.
    """
    parser = Parser(prog=program, description=description)  # argparse formats no % in it
    add_settings(parser, config_class)
    return parser


def add_settings(parser: argparse.ArgumentParser, config_class: type) -> None:
    """Adds the options of a config to a parser.

    Args:
        parser: Parser of a command or of a subcommand.
        config_class: As in `make_parser`.
    """
    from docstring_parser import parse_from_object

    files = {"action": "append", "default": [], "metavar": "FILE"}
    add_option(parser, "config", "YAML file of settings", **files)
    add_option(parser, "print_config", "print the settings as YAML and exit", action="store_true")
    positional = _positional(config_class)
    for group, settings in itertools.groupby(settings_of(config_class), lambda each: each.group):
        docs = parse_from_object(group)
        title = str(docs.description).rstrip(".")
        section = parser if group is config_class else parser.add_argument_group(title)
        help_of = {each.arg_name: each.description for each in docs.params}
        for setting in settings:
            text = _help(setting, help_of[setting.field.name])
            _add_setting(section, setting, text, positional)
    for entry in entries_of(config_class):
        _add_setting(parser, entry, argparse.SUPPRESS, positional)
    parser.usage = "%(prog)s [--help] [--config FILE] [--SETTING VALUE ...]"
    if positional:
        word = positional.upper()
        parser.usage += f" {word} ..."
        values: dict[str, Any] = {"nargs": "*", "action": "extend", "default": argparse.SUPPRESS}
        parser.add_argument(positional, metavar=word, help=f"as --{positional}", **values)


def add_option(section: Any, name: str, help: str, **options: Any) -> None:
    """Adds an option that may be spelt with dashes instead of underscores.

    Args:
        section: A parser or a group of its options.
        name: Name with underscores, without the leading dashes.
        help: Explanation in --help, which shows the first spelling only.
        **options: As in `argparse.ArgumentParser.add_argument`.
    """
    first, *others = map("".join, itertools.product(*("_-" if c == "_" else c for c in name)))
    options.setdefault("dest", name)
    section.add_argument(f"--{first}", **options, help=help)
    if others:
        section.add_argument(*(f"--{each}" for each in others), **options, help=argparse.SUPPRESS)


def parse(
    parser: Parser, config_class: type[Config], arguments: Sequence[str], shipped: bool = False
) -> tuple[Config, argparse.Namespace]:
    """Reads the command line. Its settings override those of --config.

    Args:
        parser: Made by `make_parser`.
        config_class: The dataclass that the parser was made for.
        arguments: The command line.
        shipped: As in `config_of`. Default False.

    Returns:
        The config, and a namespace with the other options of the parser.

    Raises:
        SystemExit: With code 2 and a message if a setting is unknown or has a wrong type.
    """
    flags, rest = parser.parse_known_args(arguments)
    return config_of(parser, config_class, flags, rest, shipped), flags


def config_of(
    parser: argparse.ArgumentParser,
    config_class: type[Config],
    flags: argparse.Namespace,
    rest: Sequence[str],
    shipped: bool = False,
) -> Config:
    """Makes the config from a command line that argparse has read.

    Args:
        parser: Parser with the options of the config, which reports errors.
        config_class: The dataclass to make.
        flags: Result of `parse_known_args`.
        rest: Arguments that it did not recognize.
        shipped: Whether to start from the shipped experiment for the data set if there is no
            --config. Default False.

    Raises:
        SystemExit: As in `parse`.
    """
    settings = {each.name: each for each in (*settings_of(config_class), *entries_of(config_class))}
    given = {name: value for name, value in vars(flags).items() if name in settings}
    positional = _positional(config_class)
    options = [word.lstrip("-").partition("=")[0] for word in rest if word.startswith("-")]
    options = [option.replace("-", "_") for option in options]
    unknown = unknown_settings(options, [*settings, *vars(flags), "help"])
    try:
        if unknown:
            raise ValueError(unknown)
        if rest and not positional:
            raise ValueError(f"Expected options; received {' '.join(rest)}.")
        if rest and positional:  # positional values after options
            given[positional] = [*given.get(positional, []), *rest]
        files = flags.config
        if shipped and not files and "dataset" in settings:
            files = shipped_configs.files_of(given.get("dataset", settings["dataset"].default))
        config = make_config(config_class, shipped_configs.layers(files, given))
    except ValueError as error:
        parser.error(str(error))
    if flags.print_config:
        sys.stdout.write(as_yaml(config))
        parser.exit()
    return config


def config_from(config_class: type[Config], files: Sequence[str], settings: dict) -> Config:
    """Makes a config from YAML files and from settings that override them.

    Args:
        config_class: The dataclass to make.
        files: Paths, or names of experiments that ship with the package; a later one overrides the
            earlier ones.
        settings: Nested settings, as in a YAML file; dotted names are allowed.

    Raises:
        ValueError: If a setting is unknown, a value has a wrong type, or a file is missing.

    Example:
        >>> from pa_keras.config import FitConfig
        >>> config_from(FitConfig, ["sop"], {"seed": 3}).evaluation.ks
        (1, 10, 100, 1000)
    """
    return make_config(config_class, shipped_configs.layers(files, settings))


def as_yaml(config: Config) -> str:
    """Returns a config as YAML that --config can read."""
    plain = json.loads(json.dumps(nested(config)))  # YAML knows lists, not tuples
    return yaml.safe_dump(plain, sort_keys=False)


def _positional(config_class: type) -> str | None:
    """Returns the setting whose values may be given without an option, if there is one."""
    return next((each.name for each in settings_of(config_class) if each.is_positional), None)


def _add_setting(section: Any, setting: Setting, text: str, positional: str | None) -> None:
    """Adds the option of a setting; without the option, the namespace has no value for it."""
    leaf = setting.name.rpartition(".")[2].upper()
    words = [] if setting.is_list else setting.words
    metavar = "{" + ",".join(words) + "}" if words else leaf
    options: dict[str, Any] = {"default": argparse.SUPPRESS, "metavar": metavar}
    if setting.is_switch:
        options |= {"nargs": "?", "const": True}
    if setting.is_switch and positional:
        options |= {"action": SwitchBeforeValues, "positional": positional}
    if setting.is_list:
        options |= {"nargs": "+", "action": "extend" if setting.is_positional else ListAction}
    add_option(section, setting.name, text, **options)
    short = setting.field.metadata.get("short")
    if short and text is not argparse.SUPPRESS:
        options["dest"] = setting.name
        if short.startswith("--"):
            add_option(section, short[2:], argparse.SUPPRESS, **options)
        else:
            section.add_argument(short, help=argparse.SUPPRESS, **options)


def _help(setting: Setting, text: str | None) -> str:
    """Returns the explanation of a setting, with its short name, type and default."""
    short = setting.field.metadata.get("short")
    default = setting.default
    if isinstance(default, tuple):
        default = " ".join(map(str, default)) or "none"
    elif default is None or isinstance(default, bool):
        default = json.dumps(default)  # as YAML writes it
    facts = [
        *([f"also {short}"] if short else []),
        f"type: {setting.type_text}",
        "required" if setting.is_required else f"default: {default}",
    ]
    return f"{text} ({', '.join(facts)})".replace("%", "%%")
