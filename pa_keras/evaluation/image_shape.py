"""The check of a batch of images against the input of a model."""


def expect_image_shape(expected: tuple[int | None, ...] | None, shape: tuple[int, ...]) -> None:
    """Raises a ValueError unless the shape of a batch is that of the model's input.

    Args:
        expected: Shape of the model's input, such as (None, 224, 224, 3), where None is any size;
            None if it is unknown.
        shape: Shape of the batch.

    Example:
        >>> expect_image_shape((None, 224, 224, 3), (8, 224, 224, 3))
    """
    if expected is None:
        return
    same = all(size in (None, given) for size, given in zip(expected, shape, strict=False))
    if len(expected) != len(shape) or not same:
        raise ValueError(
            f"Expected batches of images of shape {expected}; received {shape}; batch and resize "
            "them as for training."
        )
