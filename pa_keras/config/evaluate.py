"""Settings of evaluate."""

from dataclasses import dataclass, field
from typing import Literal

from pa_keras.config.model_source import FLAT, EvaluationData, ModelSource
from pa_keras.config.reranking import Reranking


@dataclass
class EvaluateConfig:
    """An evaluation of a trained model."""

    source: ModelSource = field(default_factory=ModelSource, metadata=FLAT)
    data: EvaluationData = field(default_factory=EvaluationData, metadata=FLAT)
    reranking: Reranking = field(default_factory=Reranking, metadata=FLAT)

    ks: tuple[int, ...] = (1, 2, 4, 8)
    """The values of K for Recall@K and Precision@K."""

    search: Literal["auto", "exact", "scann"] = "auto"
    """Nearest-neighbour search: exact, approximate (ScaNN), or ScaNN only where it is faster."""

    batch_size: int = 256
    """Images embedded at once."""

    duplicates: Literal["keep", "drop"] = "keep"
    """Image files with identical bytes: keep them all, or drop all but the first. Their number is
    reported in both cases."""

    clustering: bool = False
    """Also compute NMI and AMI of a k-means clustering with as many clusters as classes."""

    compression: bool = False
    """Also print Recall@1 after PCA to smaller sizes, and with int8 and binary codes."""

    thresholds: bool = False
    """Also choose the cosine from which on two images match, and print the error rates that it
    has. The run's result.json and the JSON file record it for search and export."""

    false_match_rate: float = 0.01
    """Wanted share of the pairs of different classes that match, for the threshold."""

    thresholds_picture: str | None = None
    """New image file for the ROC and the precision-recall curve of the thresholds."""

    per_class: str | None = None
    """New CSV file for the metrics of each class, worst class first."""

    suspects: str | None = None
    """New CSV file for possible errors in the data, training images included: labels that the
    neighbours doubt, near-duplicates with two labels, and classes that look like one."""

    suspects_picture: str | None = None
    """New image file that shows the worst suspects of each kind."""

    suspects_neighbours: int = 20
    """Largest number of neighbours that vote on the label of an image."""

    suspects_similarity: float = 0.98
    """Cosine from which two images with different labels are near-duplicates, in (0, 1]."""

    json: str | None = None
    """New JSON file for the result."""

    picture: str | None = None
    """New image file that shows the neighbours of a few queries, such as found.png."""

    queries: tuple[int | str, ...] = ()
    """Test images to draw in the picture, each by its path, by the last parts of its path, or by
    its index, from 0. Default: random images of different classes."""

    num_queries: int = 6
    """Random queries in the picture, and rows in those of failures and suspects; 1 or more."""

    columns: int = 4
    """Neighbours to draw for each query: 1 or more, at most as many as the metrics need."""

    failures: str | None = None
    """New image file that shows the worst queries and the most confused classes."""

    map: str | None = None
    """New image file for a map of the embeddings: thumbnails, one panel for the training classes
    and one for the test classes."""

    map_method: Literal["tsne", "umap"] = "tsne"
    """Method that places the images on the map; umap needs the extra `umap`."""

    map_images: int = 1000
    """Random images of the training classes on the map, and as many of the test classes."""

    map_neighbours: int = 30
    """Neighbours that determine the place of an image: the perplexity of t-SNE, n_neighbors of
    UMAP; 2 or more."""

    projector: str | None = None
    """New folder for the embeddings and thumbnails of test images: tensorboard --logdir FOLDER."""

    projector_images: int = 5000
    """Random test images in the projector; at most 28,900 fit into its sprite image."""

    seed: int = 0
    """Seed of the random queries, of the samples of images, of the map, and of the halves of the
    classes and the intervals of the thresholds."""
