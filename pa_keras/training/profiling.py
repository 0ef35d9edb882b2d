"""The steps of a run to trace for TensorBoard."""

import re

# After the first steps, in which TensorFlow traces functions, fills buffers and starts threads.
USUAL_STEPS = (11, 20)


def profiled_steps(
    profile: bool | str, steps_per_epoch: int, steps_per_execution: int = 1
) -> tuple[int, int] | int:
    """Converts the setting into `profile_batch` of `keras.callbacks.TensorBoard`.

    That callback counts executions, and traces only the first epoch of each `fit`.

    Args:
        profile: False for no trace, True for a trace of `USUAL_STEPS`, or "first:last", counted
            from 1 in each phase.
        steps_per_epoch: Number of batches in an epoch.
        steps_per_execution: Number of steps per execution. Default 1.

    Returns:
        First and last execution with these steps, or 0 for no trace.

    Raises:
        ValueError: The setting has another form, or the last step is before the first.

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
            f'"{profile}"; write "11:20", for example.'
        )
    begin, end = (-(-min(step, steps_per_epoch) // steps_per_execution) for step in (first, last))
    return begin, end
