"""Settings of the sub-commands of search."""

from dataclasses import dataclass
from typing import Literal


@dataclass
class SearchBuildConfig:
    """A new index."""

    gallery: str
    """What to search in: a folder of images, with class folders or without, a manifest (CSV), an
    .npz of pa_keras.embed, or a folder of Parquet files (columns id, label, vector)."""

    index: str
    """Folder of the index. After a build that was killed, the same command goes on with it."""

    run: str | None = None
    """Folder of a run of fit, for its best model."""

    model: str | None = None
    """In place of run: a .keras file of an embedding model."""

    crop_fraction: float | None = None
    """Resize the shorter side to the model's size / crop_fraction, then crop the centre.
    Default: that of the embeddings, of the run, or 0.875."""

    on_bad_image: Literal["error", "skip"] = "error"
    """An image that cannot be decoded: stop, or leave it out and list it."""

    prefix: str = ""
    """Text before each id; an id is the image's path below the gallery."""

    batch_size: int = 256
    """Images embedded at once."""

    force: bool = False
    """Replace the index if there is one; until the new one is whole, the old one answers."""


@dataclass
class SearchQueryConfig:
    """Queries by image files."""

    index: str
    """Folder of the index."""

    images: tuple[str, ...]
    """Image files to search with; also without --images before them."""

    k: int = 4
    """Neighbours of each; -k for short. All that there are, if the index has fewer."""

    json: bool = False
    """One JSON object a line, in place of the table: query, rank, similarity, id, label."""

    picture: str | None = None
    """New file for a picture of the queries and what was found, such as found.png."""

    run: str | None = None
    """Folder of the run, if the model is not any more where the index knows it."""

    model: str | None = None
    """Or the model's .keras file."""

    on_bad_image: Literal["error", "skip"] = "error"
    """A query that is no image: stop, or leave it out and list it."""

    batch_size: int = 256
    """Images embedded at once."""


@dataclass
class SearchAddConfig:
    """More items for an index."""

    index: str
    """Folder of the index."""

    gallery: str
    """What to add, as of build; what is in the index already is left as it is."""

    run: str | None = None
    """Folder of the run, if the model is not any more where the index knows it."""

    model: str | None = None
    """Or the model's .keras file."""

    on_bad_image: Literal["error", "skip"] = "error"
    """An image that cannot be decoded: stop, or leave it out and list it."""

    prefix: str = ""
    """Text before each id, to tell apart two galleries with the same names."""

    batch_size: int = 256
    """Images embedded at once."""


@dataclass
class SearchRemoveConfig:
    """Items to take out of an index."""

    index: str
    """Folder of the index."""

    ids: tuple[str, ...]
    """Ids, as query shows them; also without --ids before them."""


@dataclass
class SearchInfoConfig:
    """What an index holds."""

    index: str
    """Folder of the index."""

    verify: bool = False
    """Compare every file with its checksum too: reads all of the index."""


@dataclass
class SearchExportConfig:
    """An index as Parquet files."""

    index: str
    """Folder of the index."""

    to: str
    """New folder for the Parquet files: columns id, label and vector."""

    rows_per_shard: int = 100_000
    """Items in a file."""
