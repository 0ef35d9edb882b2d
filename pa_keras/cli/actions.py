"""Actions of argparse for lists and switches."""

import argparse
from typing import Any


class ListAction(argparse.Action):
    """Stores `--name a b` as a list of words, and `--name "[a, b]"` as YAML text."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        is_yaml = len(values) == 1 and values[0].startswith(("[", "("))
        setattr(namespace, self.dest, values[0] if is_yaml else values)


class SwitchBeforeValues(argparse.Action):
    """A switch of a command with positional values, which takes only booleans as its value.

    Without it, argparse reads the file in `query --json new.jpg` as the value of --json.
    """

    def __init__(self, positional: str, **options: Any) -> None:
        super().__init__(**options)
        self.positional = positional

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        is_value = values is True or values.lower() in ("true", "false")
        if not is_value:
            others = getattr(namespace, self.positional, [])
            setattr(namespace, self.positional, [*others, values])
        setattr(namespace, self.dest, values if is_value else True)
