"""Warm-up records: requests that TensorFlow Serving runs before it accepts real ones."""

from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from pa_keras.exporters.serving_files import expect_batch_sizes
from pa_keras.pipelines import decode_image, evaluation_image

WARMUP_FILE = "assets.extra/tf_serving_warmup_requests"
MOST_RECORDS = 1000  # with more, the server refuses the model


def write_warmup(
    saved_model_path: str | Path,
    name: str,
    image_bytes: Sequence[bytes],
    batch_sizes: Sequence[int],
    *,
    image_size: tuple[int, int] | None = None,
) -> Path:
    """Writes a request for every signature of a SavedModel and every batch size.

    The first request of each size is slow in TensorFlow, so the server makes it before a client
    does. Images are repeated to fill a batch; all embeddings are the same unit vector.

    Args:
        saved_model_path: Folder of a version of the model. The records are written to its
            `assets.extra/tf_serving_warmup_requests`, which is replaced.
        name: Name of the model on the server.
        image_bytes: Contents of one or more image files.
        batch_sizes: Batch sizes, each 1 or more, increasing.
        image_size: (height, width) of the images of `pixels`. Default None: as in the signature, if
            it has a fixed size.

    Returns:
        The path of the records.

    Raises:
        FileNotFoundError: If there is no SavedModel.
        ValueError: If there are no images or more than 1000 records, batch sizes are wrong, an
            input is not image_bytes, pixels or embedding, or the size of pixels is unknown.

    Example:
        >>> write_warmup("cars/1", "cars", [jpeg], (1, 8, 32))  # doctest: +SKIP
        PosixPath('cars/1/assets.extra/tf_serving_warmup_requests')
    """
    from tensorflow_serving.apis import prediction_log_pb2

    expect_batch_sizes(batch_sizes)
    if not image_bytes:
        raise ValueError("Expected image_bytes of one or more image files; received none.")
    signatures = read_signatures(saved_model_path)
    number = len(signatures) * len(batch_sizes)
    if number > MOST_RECORDS:
        raise ValueError(
            f"Expected {MOST_RECORDS} warm-up records at most; received {len(signatures)} "
            f"signatures x {len(batch_sizes)} batch sizes = {number}. Give fewer batch sizes."
        )
    # All rows are made before the file is opened, so that an error keeps the old file.
    rows = {
        signature: _rows(signature, definition, image_bytes, image_size)
        for signature, definition in signatures.items()
    }
    path = Path(saved_model_path) / WARMUP_FILE
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, size in ((each, size) for each in signatures for size in batch_sizes):
            log = prediction_log_pb2.PredictionLog()
            request = log.predict_log.request
            request.model_spec.name = name
            request.model_spec.signature_name = signature
            for input_name, values in rows[signature].items():
                batch = np.stack(list(islice(cycle(values), size)))
                request.inputs[input_name].CopyFrom(tf.make_tensor_proto(batch))
            writer.write(log.SerializeToString())
    return path


def placeholder_image(image_size: tuple[int, int]) -> bytes:
    """Makes a JPEG of a colour gradient for the warm-up, so that an export holds no photograph.

    Args:
        image_size: (height, width) in pixels.
    """
    height, width = image_size
    down, across = np.mgrid[0:height, 0:width]
    channels = 255 * down / height, 255 * across / width, 128 + 0 * down
    return tf.io.encode_jpeg(np.stack(channels, axis=-1).astype("uint8")).numpy()


def read_signatures(saved_model_path: str | Path) -> dict[str, meta_graph_pb2.SignatureDef]:
    """Reads the signatures of a SavedModel that take inputs, sorted by name.

    Args:
        saved_model_path: Folder with a `saved_model.pb`.

    Raises:
        FileNotFoundError: If there is no `saved_model.pb`.
    """
    file = Path(saved_model_path) / "saved_model.pb"
    if not file.is_file():
        raise FileNotFoundError(
            f"Expected a SavedModel; received {str(saved_model_path)!r}, without saved_model.pb. "
            "Give the folder of one version."
        )
    # Parsed, not loaded, so that a gallery of a million vectors stays on disk.
    saved_model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    found = saved_model.meta_graphs[0].signature_def
    # Keras and TensorFlow add a signature without inputs, which runs the initializers.
    return {name: found[name] for name in sorted(found) if found[name].inputs}


def _rows(
    signature: str,
    definition: meta_graph_pb2.SignatureDef,
    image_bytes: Sequence[bytes],
    image_size: tuple[int, int] | None,
) -> dict[str, list]:
    """Returns the rows of each input of a signature, from which batches are filled."""
    return {
        name: list(_input_rows(f"{signature}: {name}", name, info, image_bytes, image_size))
        for name, info in definition.inputs.items()
    }


def _input_rows(
    where: str,
    name: str,
    info: meta_graph_pb2.TensorInfo,
    image_bytes: Sequence[bytes],
    image_size: tuple[int, int] | None,
) -> Iterator[np.ndarray]:
    shape = [dim.size for dim in info.tensor_shape.dim]
    dtype = tf.dtypes.as_dtype(info.dtype)
    if name == "image_bytes":
        yield from (np.array(each, object) for each in image_bytes)
    elif name == "pixels":
        size = tuple(shape[1:3]) if -1 not in shape[1:3] else image_size
        if size is None:
            raise ValueError(
                f"Expected image_size, since {where} takes images of any size; received None. "
                "Give the (height, width) of the model."
            )
        for each in image_bytes:
            yield tf.saturate_cast(
                tf.round(evaluation_image(decode_image(each), size)), dtype
            ).numpy()
    elif name == "embedding":
        yield np.full(shape[1], shape[1] ** -0.5, dtype.as_numpy_dtype)
    else:
        raise ValueError(
            f"Expected inputs named image_bytes, pixels or embedding; received {where}. "
            "Make the SavedModel with pa_keras.exporters.to_saved_model."
        )
