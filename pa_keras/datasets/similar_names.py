"""Finds class names that people consider equal, such as `3`, `03` and `3.0`."""

import logging
import unicodedata
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from pathlib import Path

from pa_keras.datasets.images import natural_key

_NAMED = 5  # groups of classes in a message

logger = logging.getLogger(__name__)


def warn_of_similar_classes(classes: Iterable[str], where: Path) -> None:
    """Logs classes whose names differ only in case, white space or the format of a number.

    They count as different classes, which is seldom intended.

    Args:
        classes: The class of each image, or the names of the classes.
        where: The folder or file that contains them.
    """
    groups = similar_names(classes)
    if groups:
        shown = "; ".join(", ".join(map(repr, group)) for group in groups[:_NAMED])
        logger.warning(
            "%d groups of classes in %s have almost the same name: %s%s. They are counted as "
            "different classes. If they are not, give them one name.",
            len(groups),
            where,
            shown,
            "; ..." if len(groups) > _NAMED else "",
        )


def similar_names(names: Iterable[str]) -> list[list[str]]:
    """Returns the groups of different names that are equal as numbers, in case or after trimming.

    Example:
        >>> similar_names(["3", "Audi", "03", "audi ", "3.0", "BMW"])
        [['03', '3', '3.0'], ['Audi', 'audi ']]
    """
    groups: dict[object, list[str]] = {}
    for name in set(names):
        groups.setdefault(_same_for_people(name), []).append(name)
    similar = [sorted(group, key=natural_key) for group in groups.values() if len(group) > 1]
    return sorted(similar, key=lambda group: natural_key(group[0]))


def _same_for_people(name: str) -> object:
    """Returns a key that is equal for names that people consider equal."""
    # An accent may be a separate character, as macOS writes it, or part of the letter.
    text = " ".join(unicodedata.normalize("NFKC", name).split()).casefold()
    try:
        number = Decimal(text)
    except InvalidOperation:
        return text
    # Python also reads "1_2" as 12. A NaN is not equal to itself.
    return number if number.is_finite() and "_" not in text else text
