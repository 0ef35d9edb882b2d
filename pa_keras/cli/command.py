"""What every command does around its work: logging, and errors that a user can act on."""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from pa_keras.cli.parser import make_parser, parse
from pa_keras.cli.settings import Config

logger = logging.getLogger(__name__)


def run_from(
    arguments: Sequence[str] | None,
    config_class: type[Config],
    program: str,
    description: str,
    run: Callable[[Config], None],
    shipped: bool = False,
) -> None:
    """Runs a command that needs nothing but its config.

    Args:
        arguments: The command line. None: that of the process.
        config_class: As in `make_parser`.
        program: As in `make_parser`.
        description: As in `make_parser`.
        run: Function that does the work.
        shipped: As in `config_of`. Default False.
    """
    parser = make_parser(config_class, program, description)
    arguments = sys.argv[1:] if arguments is None else arguments
    config, _ = parse(parser, config_class, arguments, shipped)
    log_to()
    run_command(lambda: run(config))


def run_command(command: Callable[[], None]) -> None:
    """Runs a command; an error that the user can fix ends it with a message, not a traceback."""
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
