"""Which steps of a run are traced for TensorBoard."""

import re

# Behind those that trace, fill the buffers and settle the threads.
USUAL_STEPS = (11, 20)


def profiled_steps(
    profile: bool | str, steps_per_epoch: int, steps_per_execution: int = 1
) -> tuple[int, int] | int:
    """Reads the setting into `profile_batch` of `keras.callbacks.TensorBoard`.

    That callback counts executions; those of the first epoch of each `fit` are traced at most.

    Args:
        profile: False for no trace, True for that of `USUAL_STEPS`, or "first:last", counted from
            1 in each phase.
        steps_per_epoch: batches in an epoch.
        steps_per_execution: k, steps that TensorFlow takes at once. Default 1.

    Returns:
        (first, last) of the executions with these steps, or 0 for no trace.

    Raises:
        ValueError: it is neither, or the last step stands before the first.

    Example:
        >>> profiled_steps("5:8", steps_per_epoch=7)
        (5, 7)
    """
    if isinstance(profile, bool):
        if not profile:
            return 0
        first, last = USUAL_STEPS
    else:
        found = re.fullmatch(r"(\d+):(\d+)", profile)
        first, last = map(int, found.groups()) if found else (0, 0)
    if not 1 <= first <= last:
        raise ValueError(
            f'Expected profile as true, false or "first:last" with 1 <= first <= last; received '
            f'"{profile}"; write "11:20", say.'
        )
    begin, end = (-(-min(step, steps_per_epoch) // steps_per_execution) for step in (first, last))
    return begin, end
