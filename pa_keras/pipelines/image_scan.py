"""Reads every image file once: whether it can be decoded, its checksum, its EXIF orientation."""

import hashlib
import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from pa_keras.pipelines.decoding import decode_image, decode_jpeg, decode_png, is_jpeg
from pa_keras.pipelines.image_bytes import MOST_SAMPLES, starts_with
from pa_keras.pipelines.paths import path_tensor
from pa_keras.pipelines.same_files import same_files

DIGITS = 12  # of a checksum; 48 bits miss one of 100,000 changed files once in 3 billion cases

_JPEG_SUFFIXES = (".jpg", ".jpeg", ".jfif")
_ORIENTATION = 0x0112  # the EXIF tag
# A file that Pillow finds an orientation in has one of them, in its EXIF or in its XMP.
_ORIENTATION_MARKS = {
    b"\xff\xd8\xff": (b"Exif", b"http://ns.adobe.com/xap/"),  # JPEG
    b"\x89PNG": (b"eXIf", b"profile type exif", b"XML:com.adobe.xmp"),
}
_SEARCHED_BYTES = 2**16
_BATCH, _BATCH_BYTES = 64, 2**23  # most files that are handed to Python at once, and their bytes


@dataclass(frozen=True)
class Scan:
    """The result of `scan_images` for N files.

    Attributes:
        decodes: Whether a file can be decoded, bool (N,).
        rotated: Whether it can, and has an EXIF orientation, bool (N,).
        checksums: The first 12 hexadecimal digits of the SHA-256 of a file that can be decoded,
            bytes (N,); empty for the others.
    """

    decodes: np.ndarray
    rotated: np.ndarray
    checksums: np.ndarray

    def take(self, indices: np.ndarray) -> "Scan":
        """Returns the result for the files at `indices`."""
        return Scan(self.decodes[indices], self.rotated[indices], self.checksums[indices])


def scan_images(paths: Sequence[str], progress: bool = True) -> Scan:
    """Reads every file once, decodes it with the decoder of the pipelines, and describes it.

    Several paths to one file, such as hard links, are read once.

    Args:
        paths: N image files; they may repeat.
        progress: Whether to show a progress bar on a terminal.
    """
    firsts, sizes = same_files(paths, progress)
    files = np.unique(firsts)
    number = len(paths)
    scan = Scan(np.zeros(number, bool), np.zeros(number, bool), np.zeros(number, f"S{DIGITS}"))
    batch = int(np.clip(_BATCH_BYTES // max(1, sizes[files].mean()), 1, _BATCH)) if number else 1
    names = [paths[i].lower() for i in files]
    named_jpeg = np.array([name.endswith(_JPEG_SUFFIXES) for name in names], bool)
    named_png = np.array([name.endswith(".png") for name in names], bool)
    hidden = None if progress else True  # None: off a terminal
    bar = tqdm(total=len(files), desc="Checking images", unit="image", disable=hidden)
    with bar, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of large images and of unusual tags
        # Almost all files are JPEGs or PNGs: for them, graphs without branches take 0.7 and 0.4 of
        # the time. What they cannot decode goes to the decoder of the pipelines, which has the last
        # word.
        decoders = ((named_jpeg, _decode_jpeg), (named_png, _decode_png), (True, decode_to_check))
        for chosen, decode in decoders:
            left = files[chosen & ~scan.decodes[files]]
            for index, contents in _decodable(paths, left, decode, batch):
                scan.decodes[index] = True
                scan.rotated[index] = _is_rotated(contents)
                scan.checksums[index] = checksum(contents).encode()
                bar.update()
        bar.update(int((~scan.decodes[files]).sum()))  # those that cannot be decoded
    return scan.take(firsts)


def checksum(contents: bytes) -> str:
    """Returns the first digits of the SHA-256 of a file."""
    return hashlib.sha256(contents).hexdigest()[:DIGITS]


def decode_to_check(contents: tf.Tensor) -> tf.Tensor:
    """Decodes a complete file, but a JPEG at an eighth of its size if the full size is allowed."""
    # Decoding at an eighth of the size still reads the complete JPEG file, in less time, but
    # TensorFlow checks its limit against the reduced size.
    samples = tf.cond(
        is_jpeg(contents), lambda: _jpeg_samples(contents), lambda: tf.zeros((), tf.int64)
    )
    tf.debugging.assert_less(
        samples, tf.constant(MOST_SAMPLES, tf.int64), "too large for TensorFlow"
    )
    return decode_image(contents, jpeg_ratio=8)


def _decode_jpeg(contents: tf.Tensor) -> tf.Tensor:
    """Does the same in a graph without branches, and fails if the file is not a JPEG."""
    check = tf.raw_ops.Assert(condition=_jpeg_samples(contents) < MOST_SAMPLES, data=["too large"])
    with tf.control_dependencies([check]):
        return decode_jpeg(contents, ratio=8)


def _decode_png(contents: tf.Tensor) -> tf.Tensor:
    """Decodes a PNG, and fails if the file is of another format, which needs its own checks."""
    is_png = starts_with(contents, b"\x89PNG")
    with tf.control_dependencies([tf.raw_ops.Assert(condition=is_png, data=["no PNG"])]):
        return decode_png(tf.identity(contents))


def _jpeg_samples(contents: tf.Tensor) -> tf.Tensor:
    return tf.reduce_prod(tf.image.extract_jpeg_shape(contents, tf.int64))


def _decodable(
    paths: Sequence[str], indices: np.ndarray, decode: Callable[[tf.Tensor], tf.Tensor], batch: int
) -> Iterator[tuple[int, bytes]]:
    """Yields the index and the contents of each of the files that can be decoded."""
    if not len(indices):
        return

    @tf.autograph.experimental.do_not_convert  # which takes time, and there is nothing to convert
    def decoded(index: tf.Tensor, path: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        contents = tf.io.read_file(path)
        # Without the shape, the graph would drop the decoding. To drop it later costs more.
        return index, contents, tf.shape(decode(contents))

    files = tf.data.Dataset.from_tensor_slices((indices, path_tensor([paths[i] for i in indices])))
    good = files.map(decoded, tf.data.AUTOTUNE).ignore_errors().batch(batch).prefetch(2)
    for found, contents, _ in good.as_numpy_iterator():
        yield from zip(found.tolist(), contents.tolist(), strict=True)


def _is_rotated(contents: bytes) -> bool:
    from PIL import Image

    # Searching a small file takes a tenth of the time of Pillow.
    if len(contents) <= _SEARCHED_BYTES:
        for start, marks in _ORIENTATION_MARKS.items():
            if contents.startswith(start) and not any(mark in contents for mark in marks):
                return False
    try:
        with Image.open(io.BytesIO(contents)) as image:  # reads only the header
            # The getexif of a PNG image would decode the pixels first.
            return Image.Image.getexif(image).get(_ORIENTATION, 1) in range(2, 9)
    except Exception:
        # The pipelines can decode the file, so an error of Pillow must not stop a run. Pillow
        # raises many kinds of exceptions here.
        return False
