"""The command line: parsers of config dataclasses, shipped configs, logging, and error messages."""

from pa_keras.cli.parser import (
    as_yaml,
    config_from,
    expect_new,
    log_to,
    make_parser,
    parse,
    run_command,
    run_from,
)

__all__ = [
    "as_yaml",
    "config_from",
    "expect_new",
    "log_to",
    "make_parser",
    "parse",
    "run_command",
    "run_from",
]
