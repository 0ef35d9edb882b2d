"""Settings of the sub-commands of search."""

from dataclasses import dataclass, field

from pa_keras.config.model_source import FLAT, ModelSource

POSITIONAL = {"positional": True}  # given without `--name`, such as file names


@dataclass
class SearchBuildConfig:
    """A new index."""

    gallery: str
    """What to search in: a folder of images, with class folders or without, a manifest (CSV), an
    .npz of pa_keras.embed, or a folder of Parquet files (columns id, label, vector)."""

    index: str
    """Folder of the index. After a build that was killed, the same command goes on with it."""

    source: ModelSource = field(default_factory=ModelSource, metadata=FLAT)

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

    images: tuple[str, ...] = field(metadata=POSITIONAL)
    """Image files to search with. The option --images itself may be left out."""

    k: int = field(default=4, metadata={"short": "-k"})
    """Neighbours of each query; if the index has fewer, all of them."""

    json: bool = False
    """One JSON object a line, in place of the table: query, rank, similarity, id, label."""

    picture: str | None = None
    """New file for a picture of the queries and what was found, such as found.png."""

    source: ModelSource = field(default_factory=ModelSource, metadata=FLAT)

    batch_size: int = 256
    """Images embedded at once."""


@dataclass
class SearchAddConfig:
    """More items for an index."""

    index: str
    """Folder of the index."""

    gallery: str
    """What to add, as of build; what is in the index already is left as it is."""

    source: ModelSource = field(default_factory=ModelSource, metadata=FLAT)

    prefix: str = ""
    """Text before each id, to tell apart two galleries with the same names."""

    batch_size: int = 256
    """Images embedded at once."""


@dataclass
class SearchRemoveConfig:
    """Items to take out of an index."""

    index: str
    """Folder of the index."""

    ids: tuple[str, ...] = field(metadata=POSITIONAL)
    """IDs, as query shows them. The option --ids itself may be left out."""


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
