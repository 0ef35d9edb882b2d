"""Export to a SavedModel for a stock TensorFlow Serving: image files or pixels to embeddings."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf

from pa_keras.evaluation.calibration import expect_cosine
from pa_keras.exporters.gallery import Gallery, expect_k
from pa_keras.exporters.search_graph import GalleryIndex, expect_rows
from pa_keras.models import expect_embedding_model
from pa_keras.models.batch_norm_folding import folded_for_good
from pa_keras.pipelines import decode_image, evaluation_image

_IMAGE_BYTES = tf.TensorSpec((None,), tf.string, "image_bytes")
Outputs = dict[str, tf.Tensor]


def to_saved_model(
    model: keras.Model,
    path: str | Path,
    *,
    crop_fraction: float = 0.875,
    gallery: Gallery | None = None,
    k: int = 10,
    min_similarity: float | None = None,
) -> Path:
    """Exports an embedding model with its decoding and preprocessing, in plain TensorFlow ops.

    Signatures, each with a dict of outputs and any batch size:

        serving_default            image_bytes string (B,)           -> embedding float32 (B, D)
        pixels_uint8               pixels uint8 (B, H, W, 3)         -> embedding
        pixels_float32             pixels float32 (B, H, W, 3)       -> embedding
        neighbours_of_images       image_bytes string (B,)           -> ids string (B, k), labels
        neighbours_of_embeddings   embedding float32 (B, D)             string (B, k), similarities
                                                                        float32 (B, k)

    The last two need a gallery. With a min_similarity they also have an output matched bool (B, k):
    whether the similarity is at least min_similarity. Pixels are RGB, 0..255. Pixels of the model's
    own size go to the network unchanged, as in the Keras model; pixels of other sizes are
    preprocessed first, like image files. Batch normalizations are folded into the convolutions
    before them.

    Args:
        model: Embedding model, (B, height, width, 3) to (B, D).
        path: New folder. For a server, its name is the version number.
        crop_fraction: Crop fraction of the evaluation preprocessing, (0, 1]. Default 0.875.
        gallery: Gallery to search. Default None: no search.
        k: Neighbours in each response, 1 to the size of the gallery. Default 10.
        min_similarity: Least cosine of a match, [-1, 1]; it needs a gallery. Default None: no
            output matched.

    Returns:
        The path.

    Raises:
        FileExistsError: If the path exists.
        ValueError: If the model is not an embedding model, the gallery has another embedding size,
            k, min_similarity or crop_fraction is out of range, or a min_similarity has no gallery.

    Example:
        >>> path = to_saved_model(model, "exports/cars/1")  # doctest: +SKIP
        >>> loaded = tf.saved_model.load(path)  # doctest: +SKIP
        >>> loaded.signatures["serving_default"](image_bytes=[jpeg])["embedding"]  # doctest: +SKIP
    """
    path = Path(path)
    expect_embedding_model(model)
    if min_similarity is not None:
        expect_cosine("min_similarity", min_similarity)
        if gallery is None:
            raise ValueError(
                f"Expected a gallery for the min_similarity {min_similarity}; received none. Give "
                "the gallery whose items it matches."
            )
    if path.exists():
        raise FileExistsError(f"Expected a new folder; {path} exists already. Give another.")
    # The endpoints find the variables; `track` would save those of Keras a second time.
    archive = keras.export.ExportArchive()
    network, image_shape = folded_for_good(model), model.input_shape[1:]
    embed_bytes = _embedding_of_bytes(network, image_shape, crop_fraction)
    archive.add_endpoint(
        "serving_default",
        lambda image_bytes: {"embedding": embed_bytes(image_bytes)},
        [_IMAGE_BYTES],
    )
    for dtype in (tf.uint8, tf.float32):
        spec = tf.TensorSpec((None, None, None, image_shape[-1]), dtype, "pixels")
        embed_pixels = _embedding_of_pixels(network, image_shape, crop_fraction)
        archive.add_endpoint(f"pixels_{dtype.name}", embed_pixels, [spec])
    if gallery is not None:
        size = model.output_shape[-1]
        _expect_searchable(gallery, size, k)
        index = GalleryIndex(gallery)
        _add_search(archive, embed_bytes, lambda each: index(each, k, min_similarity), size)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Written elsewhere and renamed, so that a server that watches the folder never loads half a
    # model.
    with tempfile.TemporaryDirectory(prefix=".saving-", dir=path.parent) as aside:
        archive.write_out(f"{aside}/model", verbose=False)
        Path(aside, "model").rename(path)
    return path


def _embedding_of_bytes(
    network: Callable, image_shape: tuple[int, int, int], crop_fraction: float
) -> Callable[[tf.Tensor], tf.Tensor]:
    def read(contents: tf.Tensor) -> tf.Tensor:
        image = evaluation_image(decode_image(contents), image_shape[:2], crop_fraction)
        return tf.ensure_shape(image, image_shape)

    @tf.function(input_signature=[_IMAGE_BYTES])  # one graph for both signatures that take files
    def embed(image_bytes: tf.Tensor) -> tf.Tensor:
        # Image sizes differ, so each file is read separately; map_fn reads several in parallel.
        pixels = tf.map_fn(read, expect_rows(image_bytes), fn_output_signature=tf.float32)
        return network(pixels)

    return embed


def _embedding_of_pixels(
    network: Callable, image_shape: tuple[int, int, int], crop_fraction: float
) -> Callable[[tf.Tensor], Outputs]:
    image_size = image_shape[:2]

    def embed(pixels: tf.Tensor) -> Outputs:
        pixels = expect_rows(pixels)
        if pixels.dtype.is_floating:
            pixels = tf.debugging.check_numerics(pixels, "Expected finite pixels")
        images = tf.cond(
            tf.reduce_all(tf.shape(pixels)[1:3] == tf.constant(image_size)),
            lambda: tf.cast(pixels, tf.float32),
            lambda: evaluation_image(pixels, image_size, crop_fraction),
        )
        return {"embedding": network(tf.ensure_shape(images, (None, *image_shape)))}

    return embed


def _expect_searchable(gallery: Gallery, size: int, k: int) -> None:
    if gallery.embeddings.shape[1] != size:
        raise ValueError(
            f"Expected a gallery of embeddings of the model's {size} numbers; received "
            f"{gallery.embeddings.shape[1]}. Embed the gallery with this model."
        )
    expect_k(k, len(gallery))


def _add_search(
    archive: keras.export.ExportArchive,
    embed_bytes: Callable[[tf.Tensor], tf.Tensor],
    find: Callable[[tf.Tensor], Outputs],
    size: int,
) -> None:
    archive.add_endpoint(
        "neighbours_of_images",
        lambda image_bytes: find(embed_bytes(image_bytes)),
        [_IMAGE_BYTES],
    )
    archive.add_endpoint(
        "neighbours_of_embeddings",
        lambda embedding: find(embedding),
        [tf.TensorSpec((None, size), tf.float32, "embedding")],
    )
