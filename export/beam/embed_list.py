"""Embeds a list of images with an exported SavedModel, on any Apache Beam runner.

    python embed_list.py LIST SAVED_MODEL OUT [--batch-size 32] [--on-bad-image skip] [BEAM OPTIONS]

LIST has one path per line, or is a CSV whose first line is `path,label`. Relative paths are
relative to the folder of the list. OUT/embeddings-*.parquet have the columns id (the path as
listed), label and vector, a fixed-size list of float32.
"""

import argparse
import csv
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import apache_beam as beam
import pyarrow as pa
import tensorflow as tf
from apache_beam.io.filesystems import FileSystems
from apache_beam.ml.inference.base import ModelHandler, RunInference
from apache_beam.options.pipeline_options import PipelineOptions

HEADER = ["path", "label"]


class Photo(NamedTuple):
    """An image file of the list; the label is None if the list has none."""

    id: str
    label: str | None
    contents: bytes = b""


class Embedded(NamedTuple):
    """The embedding of a photo; None if the photo cannot be read."""

    id: str
    label: str | None
    vector: list[float] | None


class SavedModelHandler(ModelHandler[Photo, Embedded, tf.Module]):
    """Embeds photos with the signature `serving_default`, image_bytes -> embedding.

    Beam's own handler loads a SavedModel with Keras, but Keras 3 cannot load it.

    Args:
        saved_model: Folder of one version, with `saved_model.pb`.
        batch_size: Maximum number of photos embedded at once.
        on_bad_image: "error" or "skip".
    """

    def __init__(self, saved_model: str, batch_size: int, on_bad_image: str) -> None:
        super().__init__(max_batch_size=batch_size)
        self._saved_model, self._on_bad_image = saved_model, on_bad_image

    def load_model(self) -> tf.Module:
        return tf.saved_model.load(self._saved_model)

    def run_inference(
        self, batch: Sequence[Photo], model: tf.Module, inference_args: dict | None = None
    ) -> Iterable[Embedded]:
        try:
            return _embedded(batch, model)
        except tf.errors.InvalidArgumentError:
            return [self._alone(photo, model) for photo in batch]

    def get_num_bytes(self, batch: Sequence[Photo]) -> int:
        return sum(len(photo.contents) for photo in batch)

    def _alone(self, photo: Photo, model: tf.Module) -> Embedded:
        """Embeds one photo of a batch that failed, perhaps because of another photo."""
        try:
            return _embedded([photo], model)[0]
        except tf.errors.InvalidArgumentError as error:
            if self._on_bad_image == "error":
                raise ValueError(
                    f"Expected images; cannot read {photo.id}. Remove it, or give "
                    "--on-bad-image skip."
                ) from error
            return Embedded(photo.id, photo.label, None)


def _embedded(batch: Sequence[Photo], model: tf.Module) -> list[Embedded]:
    contents = tf.constant([photo.contents for photo in batch])
    vectors = model.signatures["serving_default"](image_bytes=contents)["embedding"].numpy()
    return [
        Embedded(photo.id, photo.label, vector.tolist())
        for photo, vector in zip(batch, vectors, strict=True)
    ]


def listed(line: str, has_labels: bool) -> Iterator[Photo]:
    """Yields the photo of a line; nothing for the header or an empty line."""
    line = line.removeprefix("\ufeff")  # Excel writes it at the start of a CSV
    cells = next(csv.reader([line]), []) if has_labels else [line.strip()]
    if cells in ([], [""], HEADER):
        return
    if has_labels and len(cells) != 2:
        raise ValueError(f"Expected path,label in each line; received {line!r}.")
    yield Photo(cells[0], cells[1] or None if has_labels else None)


def read(photo: Photo, folder: str) -> Photo:
    """Returns the photo with the contents of its file, on any file system that Beam supports."""
    is_absolute = photo.id.startswith("/") or re.match(r"\w+://", photo.id)
    path = photo.id if is_absolute else FileSystems.join(folder, photo.id)
    with FileSystems.open(path, compression_type="uncompressed") as file:
        return photo._replace(contents=file.read())


def run(options: argparse.Namespace, beam_arguments: Sequence[str]) -> None:
    """Builds the pipeline and runs it to its end."""
    signature = tf.saved_model.load(options.saved_model).signatures["serving_default"]
    size = signature.structured_outputs["embedding"].shape[-1]
    with FileSystems.open(options.list) as file:
        has_labels = file.readline().decode("utf-8-sig").strip() == ",".join(HEADER)
    folder = FileSystems.split(options.list)[0]
    schema = pa.schema(
        [("id", pa.string()), ("label", pa.string()), ("vector", pa.list_(pa.float32(), size))]
    )
    handler = SavedModelHandler(options.saved_model, options.batch_size, options.on_bad_image)
    with beam.Pipeline(options=PipelineOptions(beam_arguments)) as pipeline:
        embedded = (
            pipeline
            | "list" >> beam.io.ReadFromText(options.list)
            | "photos" >> beam.FlatMap(listed, has_labels)
            # Otherwise one worker would read all photos of the list.
            | "spread" >> beam.Reshuffle()
            | "read" >> beam.Map(read, folder)
            | "embed" >> RunInference(handler)
        )
        _ = (
            embedded
            | "good" >> beam.Filter(lambda photo: photo.vector is not None)
            | "rows" >> beam.Map(lambda photo: photo._asdict())
            | "write"
            >> beam.io.WriteToParquet(
                FileSystems.join(options.out, "embeddings"), schema, file_name_suffix=".parquet"
            )
        )
        if options.on_bad_image == "skip":
            _ = (
                embedded
                | "bad" >> beam.Filter(lambda photo: photo.vector is None)
                | "names" >> beam.Map(lambda photo: photo.id)
                | "skipped" >> beam.io.WriteToText(FileSystems.join(options.out, "skipped"), ".txt")
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog="Other options go to Beam, such as --runner."
    )
    parser.add_argument("list", help="one path per line, or a CSV with the first line path,label")
    parser.add_argument("saved_model", help="folder with saved_model.pb")
    parser.add_argument("out", help="folder for the Parquet files")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--on-bad-image", choices=["error", "skip"], default="error")
    options, beam_arguments = parser.parse_known_args()
    if options.batch_size < 1:
        sys.exit(f"error: expected --batch-size of 1 or more; received {options.batch_size}")
    run(options, beam_arguments)


if __name__ == "__main__":
    main()
