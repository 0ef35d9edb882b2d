"""Detects the format of an image file by its first bytes, not by its name."""

import re

HEAD_BYTES = 32

# Maps each format that the pipelines decode to the suffix of its files.
DECODED = {"JPEG": ".jpg", "PNG": ".png", "WebP": ".webp", "BMP": ".bmp", "GIF": ".gif"}

_SIGNATURES = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG",
    "WebP": rb"RIFF.{4}WEBP",
    # The possible sizes of the second header are checked because a text may begin with "BM".
    "BMP": rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0",
    "GIF": rb"GIF8",
    "TIFF": rb"II[*+]\0|MM\0[*+]",  # most raw formats of cameras are TIFF as well
    "HEIC": rb".{4}ftyp(he[iv][cmsx]|mif1|msf1)",
    "AVIF": rb".{4}ftypavi[fs]",
    "JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL ",
    "JPEG 2000": rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
    "Photoshop": rb"8BPS",
}
_PATTERNS = {name: re.compile(pattern, re.DOTALL) for name, pattern in _SIGNATURES.items()}


def image_format(head: bytes) -> str | None:
    r"""Returns the format of an image file, or None if it is not an image.

    Args:
        head: The first `HEAD_BYTES` bytes of the file, or more.

    Returns:
        One of `DECODED`, or the name of a format that the pipelines do not decode.

    Example:
        >>> image_format(b"\xff\xd8\xff\xe0 and so on")
        'JPEG'
    """
    return next((name for name, pattern in _PATTERNS.items() if pattern.match(head)), None)
