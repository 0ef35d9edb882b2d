"""Embeddings of images in any form, from files to arrays, by the evaluation preprocessing."""

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Literal, TypeVar, overload

import keras
import numpy as np
import tensorflow as tf

from pa_keras.evaluation.embedder import Embedder, expect_unit_length
from pa_keras.models import expect_embedding_model
from pa_keras.pipelines.image_checks import (
    OnBadImage,
    expect_on_bad_image,
    listing,
    printable,
)
from pa_keras.pipelines.image_sources import (
    AnyImage,
    UndecodableError,
    expect_several,
    image_source,
    source_pixels,
)
from pa_keras.pipelines.pixel_range import warn_if_dark
from pa_keras.pipelines.preprocessing import evaluation_image, expect_crop_fraction
from pa_keras.pipelines.sampling import expect_counts

logger = logging.getLogger(__name__)

Given = TypeVar("Given")
Found = TypeVar("Found")

_CROP_FRACTION = 0.875  # as for a .keras file in every command


@overload
def embed_images(
    model: keras.Model,
    images: Iterable[AnyImage],
    *,
    crop_fraction: float | None = None,
    batch_size: int = 32,
    on_bad_image: Literal["error"] = "error",
    progress: bool = False,
) -> np.ndarray: ...


@overload
def embed_images(
    model: keras.Model,
    images: Iterable[AnyImage],
    *,
    crop_fraction: float | None = None,
    batch_size: int = 32,
    on_bad_image: Literal["skip"],
    progress: bool = False,
) -> tuple[np.ndarray, np.ndarray]: ...


def embed_images(
    model: keras.Model,
    images: Iterable[AnyImage],
    *,
    crop_fraction: float | None = None,
    batch_size: int = 32,
    on_bad_image: OnBadImage = "error",
    progress: bool = False,
) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
    """Embeds images of any form and size, as `python -m pa_keras.embed` embeds files.

    Images are read, decoded and resized in threads, at most a batch ahead of the model, so
    `images` may be a generator of any length. As in training, alpha is dropped, 16-bit samples
    keep their high byte, and an EXIF orientation is ignored. The first call compiles the model,
    which takes seconds for a large one; later calls with the same model do not.

    Args:
        model: Embedding model, for example from `load_model`.
        images: Paths (str or Path), bytes of files, PIL images, and arrays (H, W, 3), RGB, uint8 or
            float in 0..255, in any mixture. Arrays may also be (H, W), (H, W, 1) or (H, W, 4), or
            uint16 in 0..65535.
        crop_fraction: Share of the shorter side that is kept, in (0, 1]. Default None: that of the
            run that `load_model` loaded, `model.crop_fraction`; 0.875 for any other model.
        batch_size: Number of images embedded at once. Default 32.
        on_bad_image: "error" (default) raises at the first image that cannot be decoded; "skip"
            leaves such images out, logs them, and also returns the indices of the others.
        progress: Whether to show a progress bar. Default False.

    Returns:
        Embeddings, float32 (N, D) of unit length, in order. With "skip" a tuple: embeddings (M, D)
        of the images that were decoded, and their indices among the given images, int64 (M,),
        ascending.

    Raises:
        ValueError: An image cannot be decoded (the message gives its index and path), or is of
            another form or range; there is nothing to embed; the model is not an embedding model,
            or its embeddings are not of unit length; an argument is out of range.

    Example:
        >>> from pa_keras import embedding_model
        >>> model = embedding_model("conv4", 8, (16, 16), weights=None)
        >>> embed_images(model, [np.zeros((20, 30, 3), np.uint8)]).shape
        (1, 8)
        >>> vectors, kept = embed_images(  # doctest: +SKIP
        ...     model, ["a.jpg", "damaged.jpg", "c.jpg"], on_bad_image="skip"
        ... )
        >>> kept  # doctest: +SKIP
        array([0, 2])
    """
    expect_embedding_model(model)
    expect_several(images)
    expect_on_bad_image(on_bad_image)
    expect_counts(batch_size=batch_size)
    if crop_fraction is None:
        crop_fraction = getattr(model, "crop_fraction", _CROP_FRACTION)
    expect_crop_fraction(crop_fraction)
    good = _GoodImages(images, model.input_shape[1:3], crop_fraction, batch_size, on_bad_image)
    total = len(images) if isinstance(images, Sized) else None
    embeddings = _embedder_of(model)(good.batches(), total, progress)
    expect_unit_length(embeddings, good.names)
    return (embeddings, np.array(good.kept)) if on_bad_image == "skip" else embeddings


class _GoodImages:
    """Batches of preprocessed images, and a record of which images they are.

    Args:
        images: Argument of `embed_images`, as all that follow.
        image_size: Height and width of the model's input.
        crop_fraction: Share of the shorter side that is kept.
        batch_size: Number of images in a batch.
        on_bad_image: "error" or "skip".

    Attributes:
        kept: Indices of the images in the batches so far.
        names: How to call each of them in a message.
    """

    def __init__(
        self,
        images: Iterable[AnyImage],
        image_size: tuple[int, int],
        crop_fraction: float,
        batch_size: int,
        on_bad_image: OnBadImage,
    ) -> None:
        self.kept: list[int] = []
        self.names: list[str] = []
        self._images, self._batch_size, self._on_bad_image = images, batch_size, on_bad_image
        self._size, self._crop_fraction = image_size, crop_fraction
        self._reasons: dict[str, str] = {}

    def batches(self) -> Iterator[np.ndarray]:
        """Yields float32 (B, height, width, 3); logs at the end what was left out."""
        good = self._decoded()
        for batch in iter(lambda: list(islice(good, self._batch_size)), []):
            if len(self.kept) == len(batch):  # the first
                warn_if_dark(batch, tf.convert_to_tensor)
            yield np.stack(batch)
        if not self.kept:
            raise ValueError(
                f"Expected at least one image to embed; received {len(self._reasons) or 'none'}"
                + (f" that cannot be decoded:\n{listing(self._reasons)}" if self._reasons else ".")
            )
        if self._reasons:
            logger.warning(
                "Left out %d images that cannot be decoded:\n%s",
                len(self._reasons),
                listing(self._reasons, len(self._reasons)),
            )

    def _decoded(self) -> Iterator[np.ndarray]:
        results = _in_threads(self._prepared, self._sources(), ahead=self._batch_size)
        for index, (name, result) in enumerate(results):
            if not isinstance(result, UndecodableError):
                self.kept.append(index)
                self.names.append(name)
                yield result
            elif self._on_bad_image == "skip":
                self._reasons[name] = str(result)
            else:
                raise ValueError(
                    f"Expected images that can be decoded; {name} cannot: {result}. Repair it or "
                    'leave it out; embed_images(..., on_bad_image="skip") leaves out all such '
                    "images, and returns the indices of the others."
                ) from result

    def _sources(self) -> Iterator[tuple[str, str | bytes | np.ndarray | UndecodableError]]:
        # PIL images are decoded here, not in the threads, since one may be given several times and
        # Pillow decodes it at its first use.
        for index, image in enumerate(self._images):
            name = _name(index, image)
            try:
                yield name, image_source(image)
            except UndecodableError as error:
                yield name, error
            except ValueError as error:
                raise ValueError(f"{error} It is {name}.") from error

    def _prepared(
        self, named: tuple[str, str | bytes | np.ndarray | UndecodableError]
    ) -> tuple[str, np.ndarray | UndecodableError]:
        name, source = named
        if isinstance(source, UndecodableError):
            return name, source
        try:
            with tf.device("CPU"):  # as in a pipeline
                pixels = source_pixels(source)
                return name, evaluation_image(pixels, self._size, self._crop_fraction).numpy()
        except UndecodableError as error:
            return name, error


def _embedder_of(model: keras.Model) -> Embedder:
    """Returns the compiled model, which is kept on it, as Keras keeps `predict_function`."""
    embedder = getattr(model, "pa_keras_embedder", None)
    if embedder is None:
        embedder = model.pa_keras_embedder = Embedder(model)
    return embedder


def _in_threads(
    function: Callable[[Given], Found], items: Iterable[Given], ahead: int
) -> Iterator[Found]:
    """Yields the function of each item, in order, computed at most `ahead` items in advance."""
    pool = ThreadPoolExecutor()
    pending: deque = deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _name(index: int, image: AnyImage) -> str:
    """Returns, for example, "image 3 (a.jpg)"."""
    path = image if isinstance(image, str | os.PathLike) else getattr(image, "filename", "")
    name = printable(os.fsdecode(path)) if path else type(image).__name__
    return f"image {index} ({name})"
