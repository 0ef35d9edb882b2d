"""Decodes every image once before training, so that bad files are reported in advance."""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import tensorflow as tf

from pa_keras.pipelines.image_scan import Scan, decode_to_check, scan_images
from pa_keras.pipelines.paths import as_paths

logger = logging.getLogger(__name__)

OnBadImage = Literal["error", "skip"]

_LISTED = 20  # bad files in a message


@dataclass(frozen=True)
class ImageCheck:
    """The result of `check_images`."""

    good: np.ndarray  # positions of the images that can be decoded, int64, ascending
    bad: dict[str, str]  # maps the path of each bad file to the reason
    rotated: int  # number of files whose EXIF orientation is ignored
    checksums: np.ndarray  # of the good images: the first 12 digits of their SHA-256, as strings


def check_images(
    paths: Sequence[str | os.PathLike],
    on_bad_image: OnBadImage = "error",
    progress: bool = True,
) -> ImageCheck:
    """Decodes every image with the decoder of the pipelines and reports the bad files.

    A warning counts the files with an EXIF orientation, which is ignored in training, in
    evaluation and in exports.

    Args:
        paths: N image files.
        on_bad_image: "error" raises if any file is bad; "skip" leaves bad files out and logs them.
        progress: Whether to show a progress bar on a terminal.

    Returns:
        The positions of the good images, the bad files with reasons, the number of rotated files,
        and the checksums of the good ones.

    Raises:
        ValueError: A file is bad and `on_bad_image` is "error", or all files are bad.

    Example:
        ```python
        images = images.take(check_images(images.paths, on_bad_image="skip").good)
        ```
    """
    expect_on_bad_image(on_bad_image)
    paths = as_paths(paths)
    scan = _scan(paths, progress)
    good = np.flatnonzero(scan.decodes)
    reasons = {paths[i]: _reason(paths[i]) for i in np.flatnonzero(~scan.decodes)}
    if reasons and (on_bad_image == "error" or not len(good)):
        raise ValueError(
            f"Expected images that can be decoded; received {len(reasons)} of {len(paths)} that "
            f"cannot:\n{listing(reasons)}\nRepair or delete them, convert them to JPEG or PNG, "
            'or pass on_bad_image="skip".'
        )
    if reasons:
        logger.warning(
            "Skipping %d of %d images that cannot be decoded:\n%s",
            len(reasons),
            len(paths),
            listing(reasons, len(reasons)),
        )
    rotated = int(scan.rotated[good].sum())
    if rotated:
        logger.warning(
            "%d of %d images have an EXIF orientation, which is ignored: they are used as they "
            "are stored. To apply the rotation to the files: mogrify -auto-orient FILES, or "
            "PIL.ImageOps.exif_transpose.",
            rotated,
            len(paths),
        )
    return ImageCheck(good, reasons, rotated, scan.checksums[good].astype(str))


def expect_on_bad_image(on_bad_image: OnBadImage) -> None:
    """Raises a ValueError unless the argument is "error" or "skip"."""
    if on_bad_image not in ("error", "skip"):
        raise ValueError(f'Expected on_bad_image "error" or "skip"; received "{on_bad_image}".')


def undecodable(paths: Sequence[str | os.PathLike], progress: bool = False) -> dict[str, str]:
    """Returns the image files that cannot be decoded, with the reason for each.

    Args:
        paths: Image files; they may repeat.
        progress: Whether to show a progress bar on a terminal.
    """
    names = tuple(dict.fromkeys(as_paths(paths)))
    bad = np.flatnonzero(~_scan(names, progress).decodes)
    return {names[i]: _reason(names[i]) for i in bad}


def _scan(paths: Sequence[str], progress: bool) -> Scan:
    """Scans the files; one whose name is not valid UTF-8 counts as one that cannot be decoded."""
    scan = scan_images(paths, progress)
    scan.decodes[[i for i, path in enumerate(paths) if not _is_utf8(path)]] = False
    return scan


def _is_utf8(path: str) -> bool:
    # Python represents bytes of a file name that it could not decode as lone surrogates.
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _reason(path: str) -> str:
    if not _is_utf8(path):
        # TensorFlow could read it, but records and exports cannot store the name.
        return "the name is not valid UTF-8; rename it, as convmv does"
    return why_undecodable(lambda: tf.io.read_file(path))


def why_undecodable(read: Callable[[], tf.Tensor]) -> str:
    """Returns why an image file cannot be decoded, after it failed once.

    Args:
        read: Returns the bytes of the file, a scalar string. Its `tf.errors.OpError` is the reason,
            if it raises one.

    Example:
        >>> why_undecodable(lambda: tf.constant(b""))
        'the file is empty'
    """
    try:
        contents = read()
        if not tf.strings.length(contents):
            return "the file is empty"
        kind = _undecoded_format(contents.numpy())
        if kind:
            return f"the format is {kind}, which TensorFlow does not decode"
        decode_to_check(contents)
    except tf.errors.OpError as error:
        # TensorFlow puts the node before the sentence and the operation after it.
        return error.message.split("}} ")[-1].split(" [Op:")[0].split("\n")[0]
    return "it decoded only at the second attempt"


def _undecoded_format(contents: bytes) -> str | None:
    """Returns the format if it is one whose files often have another suffix, such as .jpg."""
    if contents[:4] in (b"II*\0", b"MM\0*"):
        return "TIFF"
    return "HEIC or AVIF" if contents[4:8] == b"ftyp" else None


def printable(path: str) -> str:
    r"""Returns a path in which bytes that are not valid UTF-8 are written as \udc80 to \udcff."""
    return path.encode("utf-8", "backslashreplace").decode()


def listing(reasons: dict[str, str], count: int = _LISTED) -> str:
    """Returns a line for each of the first `count` files: its name, and why it is bad."""
    lines = [f"  {printable(path)}: {reason}" for path, reason in list(reasons.items())[:count]]
    more = len(reasons) - len(lines)
    return "\n".join(lines + [f"  and {more} more"] * (more > 0))
