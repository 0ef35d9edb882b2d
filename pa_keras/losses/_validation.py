"""What the losses are given: class ids beside cosines to proxies, or beside embeddings."""

import numpy.typing as npt
import tensorflow as tf
from keras import ops

from pa_keras.losses import _distributed

TensorLike = tf.Tensor | npt.ArrayLike


def check_cosines(labels: TensorLike, similarities: TensorLike) -> tuple[tf.Tensor, tf.Tensor]:
    """Labels int64 (B,), or one-hot (B, C) as they are, and float32 cosines (B, C).

    Raises:
        ValueError: a wrong rank, width or dtype.
    """
    labels = ops.convert_to_tensor(labels)
    similarities = ops.convert_to_tensor(similarities)
    if not similarities.dtype.is_floating or len(similarities.shape) != 2:
        raise ValueError(
            "Expected similarities as floating cosines of shape (batch, num_classes); received "
            f"{similarities.dtype.name} of shape {tuple(similarities.shape)}."
        )
    if similarities.shape[1] is None or similarities.shape[1] < 2:
        raise ValueError(
            "Expected similarities to at least 2 proxies, a number known when the step is traced; "
            f"received shape {tuple(similarities.shape)}."
        )
    check_label_dtype(labels)
    if len(labels.shape) == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    one_hot = len(labels.shape) == 2 and labels.shape[1] == similarities.shape[1]
    if not one_hot and (len(labels.shape) != 1 or not labels.dtype.is_integer):
        raise ValueError(
            "Expected labels as integers of shape (batch,) or one-hot of shape (batch, "
            f"{similarities.shape[1]}); received {labels.dtype.name} of shape "
            f"{tuple(labels.shape)}."
        )
    if not one_hot:
        # A narrow dtype, such as uint8, may not hold the number of classes.
        labels = ops.cast(labels, "int64")
    return labels, ops.cast(similarities, "float32")


def own_class(labels: tf.Tensor, similarities: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """(B, C) booleans, true where the row is of the proxy's class, and whether all is valid."""
    classes, valid = checked_classes(labels, similarities)
    numbers = ops.arange(similarities.shape[1], dtype=classes.dtype)
    return classes[:, None] == numbers[None, :], valid


def checked_classes(labels: tf.Tensor, similarities: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Class of each row, int64 (B,), of integer or one-hot labels, and whether all is valid."""
    num_classes = similarities.shape[1]
    if len(labels.shape) == 2:
        positive = ops.cast(labels > 0, "int32")
        classes = tf.argmax(positive, axis=1)
        valid = ops.all(ops.sum(positive, axis=1) == 1)
        problem = "Expected one-hot labels with a single positive class in each row"
    else:
        classes = labels
        valid = ops.all((labels >= 0) & (labels < num_classes))
        problem = f"Expected labels in [0, {num_classes}), the number of proxies"
    if tf.executing_eagerly():
        if not bool(valid):
            raise ValueError(f"{problem}; received {ops.convert_to_numpy(labels)}.")
        return classes, valid
    with tf.control_dependencies([tf.debugging.Assert(valid, [problem, labels])]):
        return tf.identity(classes), tf.identity(valid)


def check_label_dtype(labels: tf.Tensor) -> None:
    """Raises a ValueError unless labels are integers, or one-hot."""
    one_hot = len(labels.shape) == 2 and labels.shape[1] != 1
    if not (labels.dtype.is_integer or one_hot):
        raise ValueError(
            "Expected labels of an integer dtype, or one-hot of shape (batch, num_classes); "
            f"received {labels.dtype.name} of shape {tuple(labels.shape)}."
        )


def expect_positive(name: str, value: float) -> None:
    """Raises a ValueError unless a setting is above 0."""
    if not value > 0:
        raise ValueError(f"Expected {name} > 0; received {value}.")


def check_embeddings(labels: TensorLike, embeddings: TensorLike) -> tuple[tf.Tensor, tf.Tensor]:
    """Labels int64 (B,) and float32 embeddings (B, D), of the whole batch on several replicas.

    Raises:
        ValueError: a wrong rank or dtype.
    """
    labels, embeddings = ops.convert_to_tensor(labels), ops.convert_to_tensor(embeddings)
    if not embeddings.dtype.is_floating or len(embeddings.shape) != 2:
        raise ValueError(
            "Expected floating embeddings of shape (batch, embedding_size); received "
            f"{embeddings.dtype.name} of shape {tuple(embeddings.shape)}."
        )
    if len(labels.shape) == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if len(labels.shape) != 1 or not labels.dtype.is_integer:
        raise ValueError(
            f"Expected labels as integers of shape (batch,); received {labels.dtype.name} of shape "
            f"{tuple(labels.shape)}."
        )
    labels, embeddings = ops.cast(labels, "int64"), ops.cast(embeddings, "float32")
    return _distributed.gathered(labels), _distributed.gathered(embeddings)


def pairs_of(labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Which pairs of a batch are positive and which negative, (B, B) booleans, and if any is.

    A pair is ordered, and no row is paired with itself.

    Args:
        labels: integers (B,).

    Raises:
        ValueError: eagerly, a batch without a positive or without a negative pair.
        tf.errors.InvalidArgumentError: the same in a graph. XLA drops it: then the scalar bool is
            to make the loss NaN.
    """
    same = labels[:, None] == labels[None, :]
    positive = tf.linalg.set_diag(same, tf.zeros_like(labels, tf.bool))
    valid = ops.any(positive) & ops.any(~same)
    problem = (
        "Expected a batch with pairs of one class and pairs of two classes, as this loss compares "
        "pairs. Draw balanced batches: set images_per_class to 2 or more"
    )
    if tf.executing_eagerly():
        if not bool(valid):
            raise ValueError(f"{problem}; received labels {ops.convert_to_numpy(labels)}.")
        return positive, ~same, valid
    with tf.control_dependencies([tf.debugging.Assert(valid, [problem, labels])]):
        return tf.identity(positive), ~same, tf.identity(valid)


def class_ids(y_true: tf.Tensor) -> tf.Tensor:
    """Class ids again of labels that Keras has cast to float32; one-hot ones as they are."""
    y_true = ops.convert_to_tensor(y_true)
    if len(y_true.shape) == 1 or y_true.shape[-1] == 1:
        return ops.cast(y_true, "int32")
    return y_true
