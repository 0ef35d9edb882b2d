"""What a search index is made of: the images of a gallery, or its embeddings."""

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
    """A gallery that was read, of which images are still to be embedded.

    Args:
        record: the model of its embeddings.
        ready: the items, where they have embeddings.
        images: or image files, with their ids and the model that embeds them.
        ids: of the images.
        model: of the images.
    """

    record: ModelRecord
    ready: Items | None = None
    images: Images | None = None
    ids: Sequence[str] = ()
    model: keras.Model | None = None
    _chunks: Chunks | None = field(default=None, init=False)

    @property
    def is_empty(self) -> bool:
        """Whether nothing of it is to be indexed."""
        return self.images is None and not self.ready

    def items(self, folder: Path, batch_size: int, on_bad_image: OnBadImage) -> Items:
        """The items; images are embedded in chunks that are kept in the index's folder."""
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
        """To be called once the index holds the items."""
        if self._chunks is not None:
            self._chunks.discard()


def source_to_build(
    gallery: str, run: str | None, model: str | None, crop_fraction: float | None, prefix: str
) -> Source:
    """Reads what a new index is to hold.

    Args:
        gallery: folder of images, manifest, .npz of embed or folder of Parquet files.
        run: folder of the run whose best model embeds, or embedded, the gallery.
        model: or its file. Neither is needed where the embeddings say which model made them.
        crop_fraction: of the preprocessing. None: as of `crop_fraction_of`.
        prefix: of the ids.

    Raises:
        ValueError: no model is named; embeddings of another model, preprocessing or size. Where
            they do not say which, a few are compared with those of their files, if these are there.
    """
    ready, made_by = _embeddings_at(gallery, prefix)
    if ready is not None and made_by is not None and run is None and model is None:
        if crop_fraction is not None:
            _expect_same(gallery, made_by, replace(made_by, crop_fraction=crop_fraction))
        return Source(made_by, ready)
    loaded, settings = load_trained(run, model)
    loaded = in_float32(loaded)  # as exports compute
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
    """Reads what is to be added to an index; what is in it already is left out.

    Args:
        gallery: as of `source_to_build`.
        index: what it is added to.
        run: where the model of the index is now. None: where the index knows it.
        model: or its file.
        prefix: of the ids.

    Raises:
        ValueError: embeddings of another model, or an id that the index has of another file.
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
    """Raises a FileExistsError where a new index would replace an index, or anything else.

    Whether something belongs to an index is told by its contents, never by its name alone.
    """
    paths = list(folder.iterdir()) if folder.exists() else []
    others = [path.name for path in paths if not _is_of_an_index(path)]
    if others:
        raise FileExistsError(
            f"Expected a folder for the index alone; {folder} holds {min(others)}, which is not "
            "part of one. Move it away, or give another folder."
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
        # One that is damaged is known by the lock: no folder of others has it.
        return path.is_file() and (is_record(path) or files.is_lock(lock))
    if path.name == "unfinished":
        return are_chunks(path)
    return is_data(path) or path == _data_of(path.parent)


def _data_of(folder: Path) -> Path | None:
    """The data of the index in a folder, which an earlier version may have written unsigned."""
    try:
        return folder / read_record(folder)["data"]
    except (FileNotFoundError, ValueError):
        return None


def _embeddings_at(gallery: str, prefix: str) -> tuple[Items | None, ModelRecord | None]:
    """The items of a gallery that has embeddings, and their model where it is known."""
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
    """The positions of what the index does not have."""
    known = dict(zip(index.items.ids, index.items.paths, strict=True))
    # Of embeddings alone the files are not known: an id is then all there is.
    other = [
        (name, path)
        for name, path in zip(ids, paths, strict=True)
        if path and known.get(name) and os.path.realpath(known[name]) != os.path.realpath(path)
    ]
    if other:
        name, path = other[0]
        raise ValueError(
            f"Expected new ids; the index has {len(other)} of them of other files, such as "
            f"{name!r} of {known[name]}; received {path}. Give a --prefix, or remove those first."
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
            + " Embed it anew."
        )


def _absolute(path: str | None) -> str | None:
    return None if path is None else os.path.abspath(Path(path).expanduser())
