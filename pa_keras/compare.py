"""`python -m pa_keras.compare`: losses, or other settings of `fit`, side by side."""

import logging
from collections.abc import Sequence
from pathlib import Path

from pa_keras import command_line
from pa_keras.config import CompareConfig

# Not by __name__, which is __main__ under python -m: its lines would go nowhere.
logger = logging.getLogger("pa_keras.compare")

PROGRAM = "python -m pa_keras.compare"


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the settings, trains what is not trained yet, and reports."""
    command_line.run_from(
        arguments,
        CompareConfig,
        PROGRAM,
        "x",
        _compare,
        shipped=True,
    )


def _compare(config: CompareConfig) -> None:
    from pa_keras import run_plan

    cache = Path(config.cache)
    runs = run_plan.plan(config)
    try:
        # Started twice, the command shares the runs out; what the other one trains is waited for.
        for wait in (False, True):
            for number, run in enumerate(runs, 1):
                logger.info("Run %d of %d: %s", number, len(runs), run)
                run_plan.train(run, cache, wait)
    except KeyboardInterrupt:
        logger.info("Stopped. The same command goes on after the runs that are whole.")
        raise


if __name__ == "__main__":
    main()
