"""The gallery of a search index, as images or as embeddings."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import keras
import numpy as np

from pa_keras import datasets, files
from pa_keras.datasets import Images
from pa_keras.evaluation.embeddings_file import ids_of, read_embeddings
from pa_keras.index import (
    Chunks,
    Index,
    Items,
    ModelRecord,
    are_chunks,
    is_data,
    is_record,
    read_parquet,
    read_record,
)
from pa_keras.index.model import embedding, expect_made_by, model_of
from pa_keras.models import checksum, in_float32
from pa_keras.pipelines import check_images
from pa_keras.pipelines.image_checks import OnBadImage
from pa_keras.runs.load import crop_fraction_of, load_trained


@dataclass
class Source:
    """A gallery: either items with embeddings, or images that are still to be embedded.

    Args:
        record: Record of the model.
        ready: Items, if they have embeddings already.
        images: Image files, otherwise.
        ids: IDs of the images.
        model: Model that embeds the images.
    """

    record: ModelRecord
    ready: Items | None = None
    images: Images | None = None
    ids: Sequence[str] = ()
    model: keras.Model | None = None
    _chunks: Chunks | None = field(default=None, init=False)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to index."""
        return self.images is None and not self.ready

    def items(self, folder: Path, batch_size: int, on_bad_image: OnBadImage) -> Items:
        """Returns the items; embeds images in chunks that are saved in the folder of the index."""
        if self.images is None:
            if self.ready is None:
                raise ValueError("Expected items or images; received neither.")
            return self.ready
        key = f"{self.record.checksum} {self.record.crop_fraction} {on_bad_image}"
        self._chunks = Chunks(folder / "unfinished", self.images.paths, key)
        good = self._chunks.checked(lambda paths: check_images(paths, on_bad_image).good)
        embed = embedding(self.model, self.record.crop_fraction, batch_size)
        embeddings = self._chunks.embedded(good, embed)
        images = self.images.take(good)
        ids = [self.ids[i] for i in good]
        return Items(embeddings, ids, images.paths, images.labels, images.class_names)

    def discard_chunks(self) -> None:
        """Deletes the saved chunks; call it after the index is written."""
        if self._chunks is not None:
            self._chunks.discard()


def source_to_build(
    gallery: str, run: str | None, model: str | None, crop_fraction: float | None, prefix: str
) -> Source:
    """Reads the gallery of a new index.

    Args:
        gallery: Folder of images, manifest, .npz of embed, or folder of Parquet files.
        run: Run folder, whose best model embeds, or embedded, the gallery.
        model: Model file, instead of `run`. Embeddings that record their model need neither.
        crop_fraction: Crop fraction of the preprocessing. None: as in `crop_fraction_of`.
        prefix: Prefix of the IDs.

    Raises:
        ValueError: If no model is given, or the embeddings have another model, preprocessing or
            size. Embeddings that do not record their model are compared with a few of their files.
    """
    ready, made_by = _embeddings_at(gallery, prefix)
    if ready is not None and made_by is not None and run is None and model is None:
        if crop_fraction is not None:
            _expect_same(gallery, made_by, replace(made_by, crop_fraction=crop_fraction))
        return Source(made_by, ready)
    loaded, settings = load_trained(run, model)
    loaded = in_float32(loaded)  # like exports
    place = {"run": _absolute(run), "model": _absolute(model)}
    crop_fraction = made_by.crop_fraction if made_by and crop_fraction is None else crop_fraction
    record = ModelRecord(checksum(loaded), crop_fraction_of(settings, crop_fraction), **place)
    if ready is None:
        images, ids = _images_at(gallery, prefix)
        return Source(record, images=images, ids=ids, model=loaded)
    _expect_same(gallery, made_by or record, record)
    if ready.embeddings.shape[1] != loaded.output_shape[-1]:
        raise ValueError(
            f"Expected embeddings of the model's {loaded.output_shape[-1]} numbers; {gallery} has "
            f"{ready.embeddings.shape[1]}. Give the model that made them."
        )
    if made_by is None:
        expect_made_by(loaded, record, ready, gallery)
    return Source(record, ready)


def source_to_add(
    gallery: str, index: Index, run: str | None, model: str | None, prefix: str
) -> Source:
    """Reads the items to add to an index, without those that are in it already.

    Args:
        gallery: As in `source_to_build`.
        index: Index to add the items to.
        run: Run folder of the model of the index, if it was moved. None: as recorded in the index.
        model: Model file, instead of `run`.
        prefix: Prefix of the IDs.

    Raises:
        ValueError: If embeddings are from another model, or the index has an ID for another file.
    """
    ready, made_by = _embeddings_at(gallery, prefix)
    if ready is not None:
        _expect_same(gallery, made_by or index.model, index.model)
        return Source(index.model, ready.take(_new(index, ready.ids, ready.paths)))
    images, ids = _images_at(gallery, prefix)
    new = _new(index, ids, images.paths)
    if not len(new):
        return Source(index.model, index.items.take(new))
    loaded = model_of(index.model, run, model)
    ids = [ids[i] for i in new]
    return Source(index.model, images=images.take(new), ids=ids, model=loaded)


def expect_room(folder: Path, force: bool) -> None:
    """Raises a FileExistsError if a new index would replace an index or other files.

    Files of an index are recognized by their contents, never by their names alone.
    """
    paths = list(folder.iterdir()) if folder.exists() else []
    others = [path.name for path in paths if not _is_of_an_index(path)]
    if others:
        raise FileExistsError(
            f"Expected a folder that holds only an index; {folder} holds {min(others)}, which is "
            "not part of one. Move it away, or give another folder."
        )
    if (folder / "index.json").exists() and not force:
        raise FileExistsError(
            f"Expected a new index; {folder} is one already. Use search add, or replace it with "
            "--force."
        )


def _is_of_an_index(path: Path) -> bool:
    lock = path.with_name("lock")
    if path.name == "lock":
        return files.is_lock(path) or (path.is_file() and not path.stat().st_size)
    if path.name in ("index.json", "partial-index.json"):
        # A damaged record is recognized by the lock, which no other folder has.
        return path.is_file() and (is_record(path) or files.is_lock(lock))
    if path.name == "unfinished":
        return are_chunks(path)
    return is_data(path) or path == _data_of(path.parent)


def _data_of(folder: Path) -> Path | None:
    """Returns the data folder of an index, which an earlier version wrote without a signature."""
    try:
        return folder / read_record(folder)["data"]
    except (FileNotFoundError, ValueError):
        return None


def _embeddings_at(gallery: str, prefix: str) -> tuple[Items | None, ModelRecord | None]:
    """Returns the items of a gallery with embeddings, and the record of their model if known."""
    path = Path(gallery).expanduser()
    if path.suffix == ".npz":
        read = read_embeddings(path)
        ids = ids_of(read.paths, prefix=prefix)
        items = Items(read.embeddings, ids, read.paths, read.labels, read.class_names)
        return items, ModelRecord(read.checksum, read.crop_fraction)
    if path.is_dir() and any(path.glob("*.parquet")):
        items, record = read_parquet(path, prefix)
        return items, None if record is None else ModelRecord(**record)
    return None, None


def _images_at(gallery: str, prefix: str) -> tuple[Images, list[str]]:
    images = datasets.images_at(gallery)
    root = Path(os.path.abspath(Path(gallery).expanduser()))
    return images, ids_of(images.paths, root if root.is_dir() else root.parent, prefix)


def _new(index: Index, ids: Sequence[str], paths: Sequence[str]) -> np.ndarray:
    """Returns the positions of the items that are not in the index."""
    known = dict(zip(index.items.ids, index.items.paths, strict=True))
    # If only embeddings are given, the files are unknown, and only IDs can be compared.
    other = [
        (name, path)
        for name, path in zip(ids, paths, strict=True)
        if path and known.get(name) and os.path.realpath(known[name]) != os.path.realpath(path)
    ]
    if other:
        name, path = other[0]
        raise ValueError(
            f"Expected new ids; the index has {len(other)} of them for other files, such as "
            f"{name!r} for {known[name]}; received {path}. Give a --prefix, or remove those first."
        )
    return np.flatnonzero([name not in known for name in ids])


def _expect_same(gallery: str, made_by: ModelRecord, wanted: ModelRecord) -> None:
    if made_by.checksum != wanted.checksum or made_by.crop_fraction != wanted.crop_fraction:
        raise ValueError(
            f"Expected embeddings by the model of the index, with crop_fraction "
            f"{wanted.crop_fraction}; {gallery} was made by "
            + (
                f"that model with {made_by.crop_fraction}."
                if made_by.checksum == wanted.checksum
                else "another model (its checksum differs)."
            )
            + " Embed it again."
        )


def _absolute(path: str | None) -> str | None:
    return None if path is None else os.path.abspath(Path(path).expanduser())
