"""Checks of labels in NumPy: integer class IDs, or class names."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

# From this limit on, a floating dtype cannot represent every integer, and could merge classes.
EXACT_BELOW = {"bfloat16": 2**8, "float16": 2**11, "float32": 2**24, "float64": 2**53}


def class_labels(name: str, labels: npt.ArrayLike | None) -> np.ndarray:
    """Checks labels and returns them as integers or as class names, with the same values.

    Args:
        name: Name of the argument, for error messages.
        labels: Class IDs or class names, (N,). Class IDs may be booleans or, as from image
            generators, whole numbers of a floating dtype.

    Returns:
        Integers of at most 64 bits, or strings, (N,).

    Raises:
        ValueError: If the shape is different, or a label is a fraction, may have been rounded by
            its dtype, exceeds int64, or is missing, or if names and numbers are mixed.

    Example:
        >>> class_labels("labels", [2.0, 0.0])
        array([2, 0])
        >>> class_labels("labels", ["owl", "cat"]).tolist()
        ['owl', 'cat']
    """
    array = np.asarray(labels)
    if array.ndim == 1 and array.dtype.kind in "OSTU":
        # In a list, NumPy turns a missing name into "nan" and the number 1 into "1".
        array = _names_or_numbers(name, labels if isinstance(labels, list | tuple) else array)
    if array.ndim != 1 or not (array.dtype.kind in "Ubiu" or array.dtype.name in EXACT_BELOW):
        raise ValueError(
            f"Expected {name} as integer class IDs or class names of shape (number,); received "
            f"{array.dtype} of shape {array.shape}."
        )
    if array.dtype.kind == "U":
        return array
    if np.can_cast(array.dtype, np.int64):
        return array.astype(np.promote_types(array.dtype, np.int8), copy=False)
    limit = EXACT_BELOW.get(array.dtype.name, 2**63)
    bad = ~((np.floor(array) == array) & (np.abs(array) < limit))
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(
            f"Expected {name} as class names or integer class IDs, or as whole numbers below "
            f"{limit:,} in {array.dtype}; received {array[row]!s} in row {row}. Give each class an "
            "integer ID or a name."
        )
    return array.astype(np.int64)


def class_ids(name: str, labels: npt.ArrayLike | None) -> np.ndarray:
    """Checks labels as `class_labels` and returns class IDs (N,), int32, or int64 if one needs it.

    Class names are numbered from 0 in their sorted order.
    """
    labels = class_labels(name, labels)
    if labels.dtype.kind == "U":
        labels = np.unique(labels, return_inverse=True)[1]
    narrow = labels.astype(np.int32)
    return narrow if np.array_equal(narrow, labels) else labels.astype(np.int64)


def common_class_ids(
    query_labels: npt.ArrayLike | None, gallery_labels: npt.ArrayLike | None
) -> tuple[np.ndarray, np.ndarray]:
    """Class IDs (Q,) of queries and (N,) of a gallery; a name has the same ID in both.

    Raises:
        ValueError: As for `class_labels`; or if only one of them has names.

    Example:
        >>> common_class_ids(["owl", "cat"], ["cat", "dog"])
        (array([2, 0], dtype=int32), array([0, 1], dtype=int32))
    """
    queries = class_labels("query_labels", query_labels)
    if gallery_labels is query_labels:
        ids = class_ids("query_labels", queries)
        return ids, ids
    gallery = class_labels("gallery_labels", gallery_labels)
    if (queries.dtype.kind == "U") != (gallery.dtype.kind == "U"):
        raise ValueError(
            "Expected query_labels and gallery_labels both as class IDs or both as class names; "
            f"received {queries.dtype} and {gallery.dtype}."
        )
    ids = class_ids("labels", np.concatenate([queries, gallery]))
    return ids[: len(queries)], ids[len(queries) :]


def class_indices(labels: npt.ArrayLike, class_names: Sequence[str]) -> np.ndarray:
    """Class IDs of labels that are indices into class names.

    Raises:
        ValueError: As for `class_labels`; or if a label is a name, or out of range.
    """
    if class_labels("labels", labels).dtype.kind == "U":
        raise ValueError(
            "Expected labels as integers, each an index of class_names; received class names. "
            "np.unique(names, return_inverse=True) gives class_names and such labels."
        )
    labels = class_ids("labels", labels)
    if len(labels) and not (labels.min() >= 0 and labels.max() < len(class_names)):
        raise ValueError(
            f"Expected labels in [0, {len(class_names)}), the number of class names; received "
            f"{labels.min()} to {labels.max()}."
        )
    return labels


def _names_or_numbers(name: str, labels: Sequence | np.ndarray) -> np.ndarray:
    """Converts labels to an array of strings, or of numbers if none is a string."""
    kinds = {type(each) for each in labels}
    if all(issubclass(kind, bytes) for kind in kinds):
        return np.array([each.decode() for each in labels], str)
    if all(issubclass(kind, str) for kind in kinds):
        return np.array(labels, str)
    if all(issubclass(kind, int | float | np.number | np.bool) for kind in kinds):
        return np.array(list(labels))
    shown = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise ValueError(
        f"Expected {name} as class IDs or as class names, all of one kind; received {shown}. Drop "
        "the rows without a label."
    )
