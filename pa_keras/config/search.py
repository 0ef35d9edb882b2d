"""Settings of the subcommands of search."""

from dataclasses import dataclass, field

from pa_keras.config.matching import Matching
from pa_keras.config.model_source import FLAT, ModelSource
from pa_keras.config.reranking import Reranking

POSITIONAL = {"positional": True}  # given without `--name`, such as file names


@dataclass
class SearchBuildConfig:
    """A new index."""

    gallery: str
    """Gallery to search: a folder of images, with or without class folders, a manifest (CSV), an
    .npz from pa_keras.embed, or a folder of Parquet files (columns id, label, vector)."""

    index: str
    """Folder of the index. If a build is killed, the same command continues it."""

    source: ModelSource = field(default_factory=ModelSource, metadata=FLAT)

    prefix: str = ""
    """Prefix of each id. An id is the path of the image relative to the gallery."""

    batch_size: int = 256
    """Images embedded at once."""

    force: bool = False
    """Replace an existing index. Queries use the old one until the new one is complete."""


@dataclass
class SearchQueryConfig:
    """A search for image files."""

    index: str
    """Folder of the index."""

    images: tuple[str, ...] = field(metadata=POSITIONAL)
    """Image files to search for. The option name --images may be omitted."""

    k: int = field(default=4, metadata={"short": "-k"})
    """Neighbours of each query, at most as many as the index has items."""

    json: bool = False
    """Print one JSON object per line instead of the table: query, rank, similarity, id, label; with
    min_similarity also matched."""

    picture: str | None = None
    """New image file that shows the queries and their neighbours, such as found.png."""

    matching: Matching = field(default_factory=Matching, metadata=FLAT)
    reranking: Reranking = field(default_factory=Reranking, metadata=FLAT)
    source: ModelSource = field(default_factory=ModelSource, metadata=FLAT)

    batch_size: int = 256
    """Images embedded at once."""


@dataclass
class SearchAddConfig:
    """More items for an index."""

    index: str
    """Folder of the index."""

    gallery: str
    """Items to add, in the formats of build. Items that are already in the index are skipped."""

    source: ModelSource = field(default_factory=ModelSource, metadata=FLAT)

    prefix: str = ""
    """Prefix of each id, to distinguish galleries with the same file names."""

    batch_size: int = 256
    """Images embedded at once."""


@dataclass
class SearchRemoveConfig:
    """Items to take out of an index."""

    index: str
    """Folder of the index."""

    ids: tuple[str, ...] = field(metadata=POSITIONAL)
    """IDs, as query shows them. The option name --ids may be omitted."""


@dataclass
class SearchInfoConfig:
    """The contents of an index."""

    index: str
    """Folder of the index."""

    verify: bool = False
    """Also compare every file with its checksum, which reads the complete index."""


@dataclass
class SearchExportConfig:
    """An index as Parquet files."""

    index: str
    """Folder of the index."""

    to: str
    """New folder for the Parquet files: columns id, label and vector."""

    rows_per_shard: int = 100_000
    """Items in each file."""
