"""Settings of the commands that take a trained model."""

from dataclasses import dataclass
from typing import Literal


@dataclass
class EvaluateConfig:
    """An evaluation of a trained model."""

    run: str | None = None
    """Folder of a run of fit: its best model, on the data set that it was trained for."""

    model: str | None = None
    """In place of run: a .keras file of an embedding model; give dataset too."""

    dataset: str | None = None
    """Data set to evaluate on, of which the test part is taken. Default: that of the run."""

    data_dir: str | None = None
    """Folder of the images, or the manifest's path. Default: that of the run."""

    crop_fraction: float | None = None
    """Evaluation resizes the shorter side to the model's size / crop_fraction, then crops the
    centre. Default: that of the run, or 0.875."""

    test_fraction: float | None = None
    """Share of the classes for the test where the set has no split. Default: the run's, or 0.5."""

    crop_to_boxes: bool | None = None
    """Crop Cars-196 to its official bounding boxes. Default: as the run did, or not."""

    on_bad_image: Literal["error", "skip"] | None = None
    """An image that cannot be decoded: stop, or leave it out and list it. Default: as the run did,
    or stop."""

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


@dataclass
class EmbedConfig:
    """Embeddings of image files."""

    images: str
    """Folder of images, with class folders or without, or a manifest (CSV); no class is needed."""

    out: str
    """New .npz file: embeddings float32 (N, D) of unit length, labels int32 (N,), class_names,
    paths, and which model and crop_fraction they are of. After a stop, the same command continues
    from what it keeps in OUT.unfinished."""

    run: str | None = None
    """Folder of a run of fit, for its best model."""

    model: str | None = None
    """In place of run: a .keras file of an embedding model."""

    crop_fraction: float | None = None
    """Resize the shorter side to the model's size / crop_fraction, then crop the centre.
    Default: that of the run, or 0.875."""

    on_bad_image: Literal["error", "skip"] = "error"
    """An image that cannot be decoded: stop, or leave it out and list it."""

    batch_size: int = 256
    """Images embedded at once."""


@dataclass
class ExportConfig:
    """An export of a trained embedding model, with proof that it agrees."""

    out: str
    """Folder for everything that is exported; other models and versions may be in it."""

    run: str | None = None
    """Folder of a run of fit: its best model, proved on the data set that it was trained for."""

    model: str | None = None
    """In place of run: a .keras file of an embedding model; give dataset too."""

    formats: tuple[
        Literal[
            "saved_model",
            "tflite",
            "tflite_float16",
            "tflite_dynamic",
            "tflite_int8",
            "onnx",
        ],
        ...,
    ] = ("saved_model",)
    """What to make: saved_model tflite tflite_float16 tflite_dynamic tflite_int8 onnx."""

    name: str | None = None
    """The model's name to a server. Default: that of the run's folder, or of the model's file."""

    version: int = 1
    """Version, 1 or more; a server takes the highest. One that is there is not overwritten."""

    force: bool = False
    """Replace everything of this version if it is there already; a server that has it loaded
    keeps the old one until it starts anew."""

    gallery: str | None = None
    """Add neighbour signatures to the SavedModel: what to search, as a folder, a manifest, or an
    .npz of pa_keras.embed by the same model."""

    gallery_dtype: Literal["float32", "bfloat16", "int8"] = "float32"
    """How the gallery is kept; the model card says what rounding loses."""

    k: int = 10
    """Neighbours in each answer, fixed in the export, 1 to the gallery's size."""

    tflite_batch_size: int | None = None
    """Images a TFLite call takes: a number for delegates that need one, null for any."""

    tflite_input: Literal["float32", "uint8"] = "float32"
    """Type of the pixels that TFLite takes, 0..255 in both."""

    calibration_images: int = 200
    """Training images of the data set that int8 is calibrated on."""

    batch_sizes: tuple[int, ...] = (1, 8, 32)
    """Batch sizes that a server pads to, each of them warmed up."""

    report_images: int | None = 2000
    """Test images that the agreement is measured on, whole classes; null: all of them."""

    allow_disagreement: bool = False
    """Export even what misses its bound in the report."""

    dataset: str | None = None
    """Data set to prove the agreement on, by its test part. Default: that of the run."""

    data_dir: str | None = None
    """Folder of the images, or the manifest's path. Default: that of the run."""

    crop_fraction: float | None = None
    """The preprocessing resizes the shorter side to the model's size / crop_fraction, then crops
    the centre. Default: that of the run, or 0.875."""

    test_fraction: float | None = None
    """Share of the classes for the test where the set has no split. Default: the run's, or 0.5."""

    crop_to_boxes: bool | None = None
    """Crop Cars-196 to its official bounding boxes. Default: as the run did, or not."""

    on_bad_image: Literal["error", "skip"] | None = None
    """An image that cannot be decoded: stop, or leave it out. Default: as the run did, or stop."""
