"""What an index holds: unit vectors, and what an answer says of each."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pa_keras.class_ids import class_indices
from pa_keras.retrieval.search import LENGTH_TOLERANCE


@dataclass(frozen=True, eq=False)
class Items:
    """Embeddings with an id, a file and a label each.

    Args:
        embeddings: float32 (N, D), rows of unit length; it may be memory-mapped.
        ids: N names, each once.
        paths: N image files; "" where none is known.
        labels: int32 (N,), each an index of `class_names`.
        class_names: C names; "" for items without a label.

    Raises:
        ValueError: lengths that differ, or a label without a class name.

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
                "Expected embeddings (N, D) with an id, a path and a label each; received "
                f"embeddings of shape {self.embeddings.shape} with {sizes[0]} ids, {sizes[1]} "
                f"paths and {sizes[2]} labels."
            )
        object.__setattr__(self, "labels", class_indices(self.labels, self.class_names))

    def __len__(self) -> int:
        return len(self.embeddings)

    def label_of(self, row: int) -> str:
        """The name of an item's class, "" for one without."""
        return self.class_names[self.labels[row]]

    def take(self, rows: np.ndarray) -> "Items":
        """The items at the rows, int (M,), in that order; class names stay."""
        return Items(
            self.embeddings[rows],
            [self.ids[row] for row in rows],
            [self.paths[row] for row in rows],
            self.labels[rows],
            self.class_names,
        )

    def joined(self, others: "Items") -> "Items":
        """These items and then the others; classes of one name become one class.

        Raises:
            ValueError: embeddings of another size.
        """
        sizes = self.embeddings.shape[1], others.embeddings.shape[1]
        if sizes[0] != sizes[1]:
            raise ValueError(
                f"Expected embeddings of {sizes[0]} numbers, as the others are; received "
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
    """Raises a ValueError, with ids, unless items are there, unit vectors, and each id once."""
    if 0 in items.embeddings.shape:
        raise ValueError(
            f"Expected one item or more; received embeddings of shape {items.embeddings.shape}. "
            "Give a gallery that holds some."
        )
    # The length of a row with a NaN or an infinity is not finite either: one pass finds all.
    lengths = np.sqrt(np.einsum("nd,nd->n", items.embeddings, items.embeddings))
    bad = np.flatnonzero(~(np.abs(lengths - 1) <= LENGTH_TOLERANCE))
    if len(bad):
        shown = ", ".join(f"{items.ids[row]} (length {lengths[row]:.4g})" for row in bad[:5])
        raise ValueError(
            f"Expected embeddings of unit length; received {len(bad)} others of {len(items)}: "
            f"{shown}{', ...' if len(bad) > 5 else ''}. Divide each by its length; leave out zeros "
            "and what is not finite."
        )
    if len(set(items.ids)) < len(items):
        twice = next(name for name, number in Counter(items.ids).items() if number > 1)
        raise ValueError(
            f"Expected each id once; received {len(items) - len(set(items.ids))} repeated, such "
            f"as {twice!r}. Rename or remove them."
        )
