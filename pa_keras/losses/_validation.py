"""Checks of what the losses receive: class IDs with cosines to proxies, or with embeddings."""

from keras import backend, ops

from pa_keras import kernels
from pa_keras.arguments.class_ids import EXACT_BELOW
from pa_keras.kernels.tensors import Tensor, TensorLike
from pa_keras.losses.references import References


def check_cosines(labels: TensorLike, similarities: TensorLike) -> tuple[Tensor, Tensor, Tensor]:
    """The class of each row, its cosines to the proxies, and whether both are valid.

    Args:
        labels: Class IDs in [0, C) of shape (B,) or (B, 1), or one-hot of shape (B, C).
        similarities: Cosines (B, C), floating.

    Returns:
        Class IDs (B,), integers; float32 (B, C); a scalar bool. If it is false, the loss must be
        NaN: a cosine is not finite, or a label is bad and no error could be raised (under `jit`).

    Raises:
        ValueError: If a rank, width or dtype is wrong, or, in eager mode, if a label is bad.
        tf.errors.InvalidArgumentError: If a label is bad, in graph mode.
    """
    labels, similarities = kernels.as_labels(labels), ops.convert_to_tensor(similarities)
    if not _is_floating(similarities) or len(similarities.shape) != 2:
        raise ValueError(
            "Expected similarities as floating cosines of shape (batch, num_classes); received "
            f"{_dtype(similarities)} of shape {tuple(similarities.shape)}."
        )
    num_classes = similarities.shape[1]
    if num_classes is None or num_classes < 2:
        raise ValueError(
            "Expected similarities to at least 2 proxies, with their number known when the step is "
            f"traced; received shape {tuple(similarities.shape)}."
        )
    if len(labels.shape) == 2 and labels.shape[1] == num_classes:
        classes, valid = _of_one_hot(labels)
    else:
        classes, valid = _class_ids(labels, f", or one-hot of shape (batch, {num_classes})")
        in_range = ops.all((classes >= 0) & (classes < num_classes))
        problem = f"Expected labels in [0, {num_classes}), the number of proxies; received labels"
        classes, in_range = kernels.expect(in_range, problem, classes, classes)
        valid = valid & in_range
    similarities = ops.cast(similarities, "float32")
    return classes, similarities, valid & _finite(similarities)


def check_centers(similarities: TensorLike) -> tuple[Tensor, Tensor]:
    """The cosines to several centers of each class, and whether all are finite.

    Args:
        similarities: Cosines (B, C, K), floating.

    Returns:
        float32 (B, C, K); a scalar bool.

    Raises:
        ValueError: If the rank or dtype is wrong.
    """
    similarities = ops.convert_to_tensor(similarities)
    if not _is_floating(similarities) or len(similarities.shape) != 3:
        raise ValueError(
            "Expected similarities as floating cosines of shape (batch, num_classes, "
            f"centers_per_class); received {_dtype(similarities)} of shape "
            f"{tuple(similarities.shape)}. End the model with Proxies(num_classes, "
            "centers_per_class=K)."
        )
    similarities = ops.cast(similarities, "float32")
    return similarities, _finite(similarities)


def own_class(classes: Tensor, similarities: Tensor) -> Tensor:
    """Mask (B, C), true where the row belongs to the class of the proxy."""
    numbers = ops.arange(similarities.shape[1], dtype=_dtype(classes))
    return classes[:, None] == numbers[None, :]


def expect_positive(name: str, value: float) -> None:
    """Raises a ValueError unless a setting is above 0."""
    if not value > 0:
        raise ValueError(f"Expected {name} > 0; received {value}.")


def check_batch(labels: TensorLike, embeddings: TensorLike) -> tuple[Tensor, Tensor, Tensor]:
    """The class IDs and embeddings of the global batch, and whether both are valid.

    Args:
        labels: Class IDs of shape (B,) or (B, 1).
        embeddings: Embeddings (B, D), floating.

    Returns:
        Class IDs (B,), integers; float32 (B, D); a scalar bool. If it is false, the loss must be
        NaN: an embedding is not finite, or a label is bad and no error could be raised (under
        `jit`).

    Raises:
        ValueError: If a rank or dtype is wrong, or, in eager mode, if a label is bad.
        tf.errors.InvalidArgumentError: If a label is bad, in graph mode.

    Example:
        >>> classes, embeddings, valid = check_batch([3, 5], [[1.0, 0.0], [0.0, 1.0]])
        >>> tuple(classes.shape), bool(valid)
        ((2,), True)
    """
    labels, embeddings = kernels.as_labels(labels), ops.convert_to_tensor(embeddings)
    if not _is_floating(embeddings) or len(embeddings.shape) != 2:
        raise ValueError(
            "Expected floating embeddings of shape (batch, embedding_size); received "
            f"{_dtype(embeddings)} of shape {tuple(embeddings.shape)}."
        )
    classes, valid = _class_ids(labels)
    embeddings = ops.cast(embeddings, "float32")
    # A vector whose squared length overflows would become a unit vector of zeros.
    valid = valid & _finite(ops.square(embeddings))
    return kernels.gathered(classes), kernels.gathered(embeddings), valid


def check_pairs(
    labels: TensorLike, embeddings: TensorLike, references: References | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The embeddings of the global batch, and masks of its positive and negative pairs.

    Pairs are ordered, and no row is paired with itself.

    Args:
        labels: Class IDs of shape (B,) or (B, 1).
        embeddings: Embeddings (B, D), floating.
        references: Embeddings to pair the batch with. Default None: the batch itself.

    Returns:
        float32 (B, D); the positive and the negative pairs, booleans (B, B) each, or (B, M) with M
        references; a scalar bool. If it is false, the loss must be NaN: an embedding is not finite,
        or a label is bad or pairs are missing and no error could be raised (under `jit`).

    Raises:
        ValueError: If a rank or dtype is wrong, or, in eager mode, if a label is bad or the batch
            has no positive or no negative pair.
        tf.errors.InvalidArgumentError: If labels or pairs are bad in this way, in graph mode.
    """
    classes, embeddings, valid = check_batch(labels, embeddings)
    if references is None:
        same = classes[:, None] == classes[None, :]
        rows = ops.arange(ops.shape(classes)[0])
        positive = same & (rows[:, None] != rows[None, :])
        negative = ~same
    else:
        others = ops.cast(kernels.as_labels(references.labels), _dtype(classes))
        same = classes[:, None] == others[None, :]
        positive, negative = same & references.compared, ~same & references.compared
        valid = valid & _finite(ops.square(references.embeddings))
    problem = (
        "Expected a batch with pairs of one class and pairs of two classes, as this loss compares "
        "pairs. Draw balanced batches: set images_per_class to 2 or more; received labels"
    )
    positive, paired = kernels.expect(
        ops.any(positive) & ops.any(negative), problem, positive, classes
    )
    return embeddings, positive, negative, valid & paired


def _class_ids(labels: Tensor, alternative: str = "") -> tuple[Tensor, Tensor]:
    """Labels of any numeric dtype as integers (B,), and whether the cast kept their values."""
    if len(labels.shape) == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    dtype = _dtype(labels)
    exact_below = EXACT_BELOW.get(dtype)
    numeric = backend.is_int_dtype(dtype) or dtype == "bool" or exact_below
    if len(labels.shape) != 1 or not numeric:
        raise ValueError(
            f"Expected labels as integer class IDs of shape (batch,){alternative}; received "
            f"{dtype} of shape {tuple(labels.shape)}. Class IDs of class names are "
            "np.unique(names, return_inverse=True)[1]."
        )
    if not exact_below:
        return ops.cast(labels, kernels.integer_dtype()), ops.convert_to_tensor(True)
    # Image generators and CSV readers give whole numbers as floats.
    whole = ops.all((ops.floor(labels) == labels) & (ops.abs(labels) < exact_below))
    problem = (
        f"Expected class IDs as integers, or as whole numbers below {exact_below:,} in "
        f"{dtype}, which rounds larger ones. Give each class an integer ID; received labels"
    )
    labels, whole = kernels.expect(whole, problem, labels, labels)
    return ops.cast(labels, kernels.integer_dtype()), whole


def _of_one_hot(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Class IDs (B,) of one-hot rows, and whether the rows are one-hot."""
    labels = ops.cast(labels, "float32")
    positive = ops.cast(labels == 1, "int32")
    valid = ops.all((labels == 1) | (labels == 0)) & ops.all(ops.sum(positive, axis=1) == 1)
    problem = "Expected one-hot labels with a single positive class: a 1 in each row, else 0"
    problem = f"{problem}; received labels"
    labels, valid = kernels.expect(valid, problem, labels, labels)
    return ops.cast(ops.argmax(labels, axis=1), kernels.integer_dtype()), valid


def _finite(numbers: Tensor) -> Tensor:
    """Whether all numbers are finite, by their sum, which needs no array of booleans."""
    return ops.isfinite(ops.sum(numbers))


def _dtype(tensor: Tensor) -> str:
    """The name of a tensor's dtype in Keras, such as "float32", on every backend."""
    return backend.standardize_dtype(tensor.dtype)


def _is_floating(tensor: Tensor) -> bool:
    return backend.is_float_dtype(_dtype(tensor))
