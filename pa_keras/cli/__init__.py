"""The command line: options generated from config dataclasses, config files, logging, errors.

`settings` lists the settings of a config, `parser` reads the command line with argparse,
`shipped_configs` reads files and recipes, and `checks` builds the config with jsonargparse's types.
"""

from pa_keras.cli.command import expect_new, log_to, run_command, run_from
from pa_keras.cli.parser import (
    Parser,
    add_option,
    add_settings,
    as_yaml,
    config_from,
    config_of,
    make_parser,
    parse,
)

__all__ = [
    "Parser",
    "add_option",
    "add_settings",
    "as_yaml",
    "config_from",
    "config_of",
    "expect_new",
    "log_to",
    "make_parser",
    "parse",
    "run_command",
    "run_from",
]
