"""A search index on disk: embeddings, IDs and labels, replaced in one atomic step."""

from pa_keras.index.embedding_cache import Chunks, are_chunks
from pa_keras.index.items import Items, expect_searchable
from pa_keras.index.output import as_json_lines, as_table, num_matches, only_matches
from pa_keras.index.parquet import read_parquet, write_parquet
from pa_keras.index.read import Index, open_index
from pa_keras.index.record import (
    ModelRecord,
    is_data,
    is_record,
    read_record,
    verify_index,
)
from pa_keras.index.reranking import NUM_CANDIDATES
from pa_keras.index.write import write_index, writer_lock

__all__ = [
    "Chunks",
    "Index",
    "Items",
    "ModelRecord",
    "NUM_CANDIDATES",
    "are_chunks",
    "as_json_lines",
    "as_table",
    "expect_searchable",
    "is_data",
    "is_record",
    "num_matches",
    "only_matches",
    "open_index",
    "read_parquet",
    "read_record",
    "verify_index",
    "write_index",
    "write_parquet",
    "writer_lock",
]
