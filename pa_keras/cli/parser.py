"""What the commands share: reading settings, logging, and errors a user can act on."""

import argparse
import contextlib
import dataclasses
import io
import itertools
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar, get_args, get_origin

import jsonargparse
import yaml

from pa_keras.cli import shipped_configs, suggestions

logger = logging.getLogger(__name__)

Config = TypeVar("Config")

# Settings of training that may be given without their group, as far as the config has them.
_SHORT = (
    "strategy",
    "batch_chunks",
    "steps_per_execution",
    "deterministic",
    "max_hours",
    "profile",
)


def make_parser(config_class: type, program: str, description: str) -> jsonargparse.ArgumentParser:
    """A parser of a config dataclass: YAML files by --config, and every setting by dotted name.

    Args:
        config_class: dataclass whose fields have docstrings, which become the help.
        program: such as "python -m pa_keras.fit".
        description: stands at the head of --help.
    """
    jsonargparse.set_parsing_settings(docstring_parse_attribute_docstrings=True)
    short = _short_names(config_class)
    if short:
        description += " Short for --training.NAME: " + ", ".join(f"--{name}" for name in short)
    # No `--recip` for `--recipe`: an abbreviation would pass by what looks for the whole name.
    parser = jsonargparse.ArgumentParser(
        prog=program, description=description, exit_on_error=False, allow_abbrev=False
    )
    parser.add_argument(
        "--config",
        action="config",
        help="YAML file of settings",
    )
    parser.add_class_arguments(config_class)
    return parser


def parse(
    parser: jsonargparse.ArgumentParser,
    config_class: type[Config],
    arguments: Sequence[str],
    shipped: bool = False,
) -> tuple[Config, jsonargparse.Namespace]:
    """Reads the command line; settings on it stand above those of --config.

    Dashes and underscores in names are the same, and some settings of training need not name their
    group. A list is `--name a b`, a switch `--name`. A recipe stands for the settings in its file,
    as `shipped_configs.with_recipes` puts them.

    Args:
        parser: of `make_parser`.
        config_class: what the parser was made of.
        arguments: the command line.
        shipped: whether --config may also name an experiment of `shipped_configs.folder()`; without
            --config, the one that has the dataset's name is then the base, if there is one.

    Returns:
        The config, and the namespace with the parser's other arguments.

    Raises:
        SystemExit: with code 2 and a message, for a setting that is unknown or of a wrong type.
    """
    short = _short_names(config_class)
    arguments = [_normal(argument, short) for argument in arguments]
    arguments = _with_values(arguments, config_class)
    if shipped:
        arguments = shipped_configs.with_paths(arguments)
    try:
        parsed = parser.parse_args(shipped_configs.with_recipes(arguments))
        base = shipped_configs.folder() / f"{parsed.get('dataset')}.yaml"
        if shipped and not shipped_configs.split(arguments)[0] and base.exists():
            arguments = [f"--config={base}", *arguments]
            parsed = parser.parse_args(shipped_configs.with_recipes(arguments))
    except argparse.ArgumentError as error:
        hint = suggestions.unknown_settings(parser, config_class, arguments)
        hint += suggestions.misspelt_choices(config_class, arguments)
        sys.stderr.write(f"{parser.prog}: {error}\n{hint}See {parser.prog} --help.\n")
        raise SystemExit(2) from None
    values = parser.instantiate(parsed)
    names = config_class.__dataclass_fields__
    return config_class(**{name: values[name] for name in names}), parsed


def config_from(config_class: type[Config], files: Sequence[str], settings: dict) -> Config:
    """A config of YAML files and of nested settings that stand above them.

    Args:
        config_class: as of `make_parser`.
        files: paths, or names of shipped experiments, the later above the earlier.
        settings: as a YAML file would hold them; dotted names are allowed.

    Raises:
        ValueError: an unknown setting, a wrong type, or a file that is not there.
    """
    parser = make_parser(config_class, "settings", "")
    arguments = [f"--config={file}" for file in files]
    for name, value in suggestions.dotted(settings).items():
        arguments.append(f"--{name}={value if isinstance(value, str) else json.dumps(value)}")
    messages = io.StringIO()
    try:
        with contextlib.redirect_stderr(messages):
            return parse(parser, config_class, shipped_configs.with_paths(arguments))[0]
    except SystemExit:
        raise ValueError(messages.getvalue().removesuffix("See settings --help.\n")) from None


def as_yaml(config: Config) -> str:
    """A config as the YAML that --config reads."""
    plain = json.loads(json.dumps(dataclasses.asdict(config)))  # YAML knows lists, not tuples
    return yaml.safe_dump(plain, sort_keys=False)


def run_from(
    arguments: Sequence[str] | None,
    config_class: type[Config],
    program: str,
    description: str,
    run: Callable[[Config], None],
    shipped: bool = False,
) -> None:
    """The whole of a command that needs nothing but its config.

    Args:
        arguments: the command line. None: that of the process.
        config_class: as of `make_parser`, as are program and description.
        program: such as "python -m pa_keras.embed".
        description: stands at the head of --help.
        run: does the work.
        shipped: as of `parse`. Default False.
    """
    parser = make_parser(config_class, program, description)
    arguments = sys.argv[1:] if arguments is None else arguments
    config, _ = parse(parser, config_class, arguments, shipped)
    log_to()
    run_command(lambda: run(config))


def run_command(command: Callable[[], None]) -> None:
    """Runs a command; what the user can mend ends it with a message, not a traceback."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before anything imports TensorFlow
    try:
        command()
    except KeyboardInterrupt:
        sys.exit(130)
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        logger.debug("The command failed.", exc_info=True)
        sys.exit(f"error: {error}")


def expect_new(path: str | None) -> None:
    """Raises FileExistsError if there is a file already, before any work is done for it."""
    if path is not None and Path(path).exists():
        raise FileExistsError(
            f"Expected a new file; {path} is there already, and nothing is overwritten. Give "
            "another name, or delete it."
        )
    if path is not None and not Path(path).absolute().parent.is_dir():
        raise FileNotFoundError(f"Expected a folder to write {path} to; make it first.")


def log_to(path: Path | None = None) -> None:
    """Shows the package's log on stderr and, once its folder is known, in a file too."""
    package = logging.getLogger("pa_keras")
    package.setLevel(logging.DEBUG)
    if path is None:
        handler: logging.Handler = logging.StreamHandler()
        handler.setLevel(logging.INFO)
        handler.setFormatter(logging.Formatter("%(message)s"))
        # Without a handler at the root, the first package that logs there installs one, which
        # would show our lines again, the debugging ones too.
        others = logging.StreamHandler()
        others.setLevel(logging.WARNING)
        others.addFilter(lambda record: not record.name.startswith("pa_keras."))
        logging.getLogger().addHandler(others)
    else:
        handler = logging.FileHandler(path)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    package.addHandler(handler)


def _short_names(config_class: type) -> list[str]:
    """Names of `_SHORT` that are settings of training in this config."""
    settings = dict(suggestions.types_of(config_class))
    return [name for name in _SHORT if f"training.{name}" in settings and name not in settings]


def _normal(argument: str, short: Sequence[str]) -> str:
    """The argument with underscores in its name, and the group that a short name leaves out."""
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument.partition("=")
    name = name[2:].replace("-", "_")
    return f"--{'training.' * (name in short)}{name}{equals}{value}"


def _with_values(arguments: Sequence[str], config_class: type) -> list[str]:
    """The arguments with `--name a b` as `--name=[a, b]` where that setting is a list, and a
    switch without a value as `--name=true`.
    """
    types = dict(suggestions.types_of(config_class))
    result: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        kind = types.get(argument[2:])
        values = list(itertools.takewhile(lambda value: not value.startswith("--"), rest))
        if get_origin(kind) is tuple and values and not values[0].startswith(("[", "(")):
            rest = rest[len(values) :]
            argument = f"{argument}=[{', '.join(values)}]"
        elif (kind is bool or bool in get_args(kind)) and not values:
            argument = f"{argument}=true"
        result.append(argument)
    return result
