"""Settings of evaluate."""

from dataclasses import dataclass, field
from typing import Literal

from pa_keras.config.model_source import FLAT, EvaluationData, ModelSource


@dataclass
class EvaluateConfig:
    """An evaluation of a trained model."""

    source: ModelSource = field(default_factory=ModelSource, metadata=FLAT)
    data: EvaluationData = field(default_factory=EvaluationData, metadata=FLAT)

    ks: tuple[int, ...] = (1, 2, 4, 8)
    """The K of Recall@K and Precision@K."""

    search: Literal["auto", "exact", "scann"] = "auto"
    """Nearest neighbours: exact, approximate by ScaNN, or by ScaNN where that pays."""

    batch_size: int = 256
    """Images embedded at once."""

    duplicates: Literal["keep", "drop"] = "keep"
    """Image files with the same bytes as another: keep them, or drop all but the first; how many
    there are is said either way."""

    clustering: bool = False
    """Also NMI and AMI of a k-means clustering into as many clusters as there are classes."""

    compression: bool = False
    """Also a table of Recall@1 after PCA to smaller sizes, and in int8 and binary codes."""

    per_class: str | None = None
    """New CSV file for the metrics of each class, the worst first."""

    json: str | None = None
    """New file for the result as JSON."""

    picture: str | None = None
    """New file for a picture of what was found for a few queries, such as found.png."""

    queries: tuple[int | str, ...] = ()
    """Test images to draw in the picture, each by its path, of which the last parts are enough, or
    by its place from 0. Default: random ones, of different classes."""

    num_queries: int = 6
    """Random queries in the picture; rows of the page of failures. 1 or more."""

    columns: int = 4
    """Neighbours drawn of each query, 1 or more; at most as many as the metrics needed."""

    failures: str | None = None
    """New file for a picture of the worst queries and of the most confused classes."""

    map: str | None = None
    """New file for a map of the embeddings with thumbnails, training and test classes apart."""

    map_method: Literal["tsne", "umap"] = "tsne"
    """How the map is laid out; umap needs the extra `umap`."""

    map_images: int = 1000
    """Images of the training classes on the map, and as many of the test classes, at random."""

    map_neighbours: int = 30
    """Neighbours that an image is placed by: t-SNE's perplexity, UMAP's n_neighbors. 2 or more."""

    projector: str | None = None
    """New folder for the test images' embeddings and thumbnails: tensorboard --logdir FOLDER."""

    projector_images: int = 5000
    """Test images in the projector, at random; a sprite has room for 28,900."""

    seed: int = 0
    """Seed of the random queries, of the samples of images, and of the map."""
