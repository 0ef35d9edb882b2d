"""The items of an index: embeddings with their IDs, paths and labels."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pa_keras.arguments.class_ids import class_indices
from pa_keras.retrieval.search import LENGTH_TOLERANCE


@dataclass(frozen=True, eq=False)
class Items:
    """Embeddings, each with an ID, a file and a label.

    Args:
        embeddings: Embeddings float32 (N, D) of unit length; may be memory-mapped.
        ids: N unique names.
        paths: N image files; "" if a file is unknown.
        labels: Class IDs int32 (N,), indices into `class_names`.
        class_names: C class names; "" is the class of items without a label.

    Raises:
        ValueError: If lengths differ, or a label has no class name.

    Example:
        >>> len(Items(np.eye(2, dtype="float32"), ["a", "b"], ["", ""], np.array([0, 0]), ["x"]))
        2
    """

    embeddings: np.ndarray
    ids: Sequence[str]
    paths: Sequence[str]
    labels: np.ndarray
    class_names: Sequence[str]

    def __post_init__(self) -> None:
        sizes = [len(self.ids), len(self.paths), len(self.labels)]
        if self.embeddings.ndim != 2 or sizes != [len(self.embeddings)] * 3:
            raise ValueError(
                "Expected embeddings (N, D), each with an id, a path and a label; received "
                f"embeddings of shape {self.embeddings.shape} with {sizes[0]} ids, {sizes[1]} "
                f"paths and {sizes[2]} labels."
            )
        object.__setattr__(self, "labels", class_indices(self.labels, self.class_names))

    def __len__(self) -> int:
        return len(self.embeddings)

    def label_of(self, row: int) -> str:
        """Returns the class name of an item, "" if it has no label."""
        return self.class_names[self.labels[row]]

    def take(self, rows: np.ndarray) -> "Items":
        """Returns the items at the rows, int (M,), in that order, with all class names."""
        return Items(
            self.embeddings[rows],
            [self.ids[row] for row in rows],
            [self.paths[row] for row in rows],
            self.labels[rows],
            self.class_names,
        )

    def joined(self, others: "Items") -> "Items":
        """Returns these items followed by the others. Classes with the same name are merged.

        Raises:
            ValueError: If the embedding sizes differ.
        """
        sizes = self.embeddings.shape[1], others.embeddings.shape[1]
        if sizes[0] != sizes[1]:
            raise ValueError(
                f"Expected embeddings of {sizes[0]} numbers, like the other items; received "
                f"{sizes[1]}. Embed them with the same model."
            )
        names = list(dict.fromkeys([*self.class_names, *others.class_names]))
        place = {name: number for number, name in enumerate(names)}
        relabelled = [
            np.array([place[name] for name in each.class_names], np.int32)[each.labels]
            for each in (self, others)
        ]
        return Items(
            np.concatenate([self.embeddings, others.embeddings]),
            [*self.ids, *others.ids],
            [*self.paths, *others.paths],
            np.concatenate(relabelled),
            names,
        )


def expect_searchable(items: Items) -> None:
    """Raises a ValueError unless there are items, all of unit length and with unique IDs."""
    if 0 in items.embeddings.shape:
        raise ValueError(
            f"Expected one item or more; received embeddings of shape {items.embeddings.shape}. "
            "Give a gallery that is not empty."
        )
    # A row with a NaN or an infinity has no finite length either, so one pass finds all errors.
    lengths = np.sqrt(np.einsum("nd,nd->n", items.embeddings, items.embeddings))
    bad = np.flatnonzero(~(np.abs(lengths - 1) <= LENGTH_TOLERANCE))
    if len(bad):
        shown = ", ".join(f"{items.ids[row]} (length {lengths[row]:.4g})" for row in bad[:5])
        raise ValueError(
            f"Expected embeddings of unit length; received {len(bad)} others of {len(items)}: "
            f"{shown}{', ...' if len(bad) > 5 else ''}. Divide each by its length; leave out zeros "
            "and values that are not finite."
        )
    if len(set(items.ids)) < len(items):
        twice = next(name for name, number in Counter(items.ids).items() if number > 1)
        raise ValueError(
            f"Expected each id once; received {len(items) - len(set(items.ids))} repeated, such "
            f"as {twice!r}. Rename or remove them."
        )
