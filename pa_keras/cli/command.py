"""The frame of every command: logging, and error messages that a user can act on."""

import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from pa_keras.backend import expect_tensorflow_backend
from pa_keras.cli.parser import make_parser, parse
from pa_keras.cli.settings import Config
from pa_keras.cpu import import_tensorflow_quietly, tune_cpu

logger = logging.getLogger(__name__)


def run_from(
    arguments: Sequence[str] | None,
    config_class: type[Config],
    program: str,
    description: str,
    run: Callable[[Config], None],
    shipped: bool = False,
) -> None:
    """Runs a command that needs only its config.

    Args:
        arguments: The command line. None: the one of this process.
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
    """Runs a command; errors that the user can fix end it with a message, not a traceback.

    Every command needs TensorFlow, which is checked first.
    """
    if "tensorflow" not in sys.modules:  # as it is where a program calls `main`
        tune_cpu()
    try:
        expect_tensorflow_backend()
        import_tensorflow_quietly()
        command()
    except KeyboardInterrupt:
        sys.exit(130)
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        logger.debug("The command failed.", exc_info=True)
        sys.exit(f"error: {error}")


def expect_new(path: str | None) -> None:
    """Raises an error, before any work is done, if a new file cannot be written to this path."""
    if path is not None and Path(path).exists():
        raise FileExistsError(
            f"Expected a new file; {path} exists already, and nothing is overwritten. Give "
            "another name, or delete it."
        )
    if path is not None and not Path(path).absolute().parent.is_dir():
        raise FileNotFoundError(f"Expected an existing folder for {path}; create it first.")


def log_to(path: Path | None = None) -> None:
    """Writes the package's log to stderr, or to a file if a path is given."""
    package = logging.getLogger("pa_keras")
    package.setLevel(logging.DEBUG)
    if path is None:
        handler: logging.Handler = logging.StreamHandler()
        handler.setLevel(logging.INFO)
        handler.setFormatter(logging.Formatter("%(message)s"))
        # Without a handler at the root, the first package that logs there installs one, which
        # would repeat our lines, including those for debugging.
        others = logging.StreamHandler()
        others.setLevel(logging.WARNING)
        others.addFilter(lambda record: not record.name.startswith("pa_keras."))
        logging.getLogger().addHandler(others)
    else:
        handler = logging.FileHandler(path)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    package.addHandler(handler)
