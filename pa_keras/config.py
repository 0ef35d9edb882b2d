"""Every setting of a training run: what it means, its unit or range, and its default.

The standard library alone is imported here, so that `--help` is instant. Only the commands see
these classes: they unpack them into plain arguments.
"""

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass
class DataConfig:
    """The images: which, how large, and how they are checked and split."""

    image_size: int | tuple[int, int] = 224
    """Size of evaluation and exports in pixels: one number, or [height, width]."""

    crop_fraction: float = 0.875
    """Evaluation resizes the shorter side to image_size / crop_fraction, then crops the centre."""

    test_fraction: float = 0.5
    """Share of the classes kept unseen for the test, (0, 1), where the set has no split."""

    crop_to_boxes: bool = False
    """Crop Cars-196 to its official bounding boxes (the crops are cached as files)."""

    on_bad_image: Literal["error", "skip"] = "error"
    """An image that cannot be decoded: stop before training, or leave it out and list it."""

    label_noise: float = 0.0
    """Share of the training labels that are changed to another class, [0, 1): a study of noise."""

    outliers: float = 0.0
    """Share of the training images that are replaced by foreign ones, [0, 1): another study."""

    outliers_dir: str | None = None
    """The foreign images: a folder of images or of class folders, or a manifest."""

    cache: Literal["none", "files", "pixels"] = "none"
    """Keep nothing, the files' bytes, or the decoded pixels of the training images in memory."""


@dataclass
class BatchConfig:
    """How training batches are drawn."""

    batch_size: int = 90
    """Images in a training batch."""

    sampling: Literal["auto", "random", "balanced"] = "auto"
    """random: all images shuffled; balanced: the same number of images of each of some classes;
    auto: balanced for losses of pairs and where one of the next two is given, else random."""

    classes_per_batch: int | None = None
    """Balanced batches: classes in each. Default: batch_size / images_per_class."""

    images_per_class: int | None = None
    """Balanced batches: images of each class. Default: the loss's own number, or the next smaller
    one that divides batch_size."""


@dataclass
class AugmentationConfig:
    """How a training image differs from its file."""

    image_size: int | tuple[int, int] | None = None
    """Size to train at, in pixels; None: data.image_size. Training a little smaller than the
    evaluation is cheaper, and objects then look the same size in both."""

    area: tuple[float, float] = (0.2, 1.0)
    """Range of the random crop's share of the image's area, (0, 1]."""

    ratio: tuple[float, float] = (0.75, 4 / 3)
    """Range of the random crop's width / height."""

    flip: bool = True
    """Mirror half of the images left-right; off for letters and other things with a direction."""

    extra: str | None = None
    """One more augmentation layer by its name, such as rand_augment."""


@dataclass
class ModelConfig:
    """The network from pixels to unit vectors."""

    backbone: str = "efficientnet_lite0"
    """A backbone's name: resnet50, mobilenetv2, efficientnetv2b0, efficientnet_lite0, ..."""

    weights: str | None = "imagenet"
    """imagenet, a weights file, or null for random ones."""

    embedding_size: int = 512
    """Length of the embedding, D."""

    batch_norm: Literal["train", "frozen", "frozen_statistics"] = "frozen"
    """Batch normalization: trained, wholly frozen, or with trained scale and shift only."""


LossName = Literal[
    "proxy_anchor",
    "proxy_nca",
    "soft_triple",
    "normalized_softmax",
    "cosface",
    "arcface",
    "contrastive",
    "triplet",
    "n_pair",
    "lifted_structure",
    "multi_similarity",
]


@dataclass
class LossOptions:
    """Settings of the loss; each loss has some of them. null: the loss's own default."""

    margin: float | None = None
    """proxy_anchor (delta 0.1), soft_triple (0.01), cosface (0.35): cosines; arcface (0.5):
    radians; triplet (0.1), lifted_structure (1): distances."""

    alpha: float | None = None
    """proxy_anchor: scale (32); multi_similarity: scale of the positives (2)."""

    beta: float | None = None
    """multi_similarity: scale of the negatives (50)."""

    base: float | None = None
    """multi_similarity: lambda, a cosine (0.5)."""

    epsilon: float | None = None
    """multi_similarity: of its mining, a difference of cosines (0.1); 3 keeps every pair."""

    scale: float | None = None
    """proxy_nca: of squared distances (32); soft_triple (20), cosface (64), arcface (64)."""

    target_in_denominator: bool | None = None
    """proxy_nca: whether the target proxy is in the denominator (false, as in the paper)."""

    temperature: float | None = None
    """normalized_softmax: sigma (0.05)."""

    gamma: float | None = None
    """soft_triple: temperature among the centers of a class (0.1)."""

    centers_per_class: int | None = None
    """soft_triple: K (10)."""

    centers_strength: float | None = None
    """soft_triple: tau of the regularizer that merges the centers of a class (0.2)."""

    mining: Literal["semi_hard", "semi_hard_nearest", "hard", "all"] | None = None
    """triplet: which triplets (semi_hard)."""

    negative_margin: float | None = None
    """contrastive: distance beyond which a negative costs nothing (0.5)."""

    positive_margin: float | None = None
    """contrastive: distance below which a positive costs nothing (0)."""

    squared: bool | None = None
    """contrastive: whether the hinges are squared (false)."""

    average_nonzero: bool | None = None
    """contrastive: whether the means are over the terms above 0 alone (true)."""

    normalize: bool | None = None
    """lifted_structure: whether embeddings are divided by their lengths (true)."""


@dataclass
class OptimizerConfig:
    """AdamW with two learning rates."""

    learning_rate: float = 3e-4
    """Peak learning rate of the backbone and the embedding layer."""

    proxies_multiplier: float = 100.0
    """The proxies of any loss that has some learn at learning_rate times this."""

    weight_decay: float = 1e-4
    """Decoupled weight decay, for all weights."""

    decay: Literal["cosine", "staircase", "constant"] = "cosine"
    """How the rates fall: to 1 % along a cosine, by decay_factor every decay_epochs, or not."""

    decay_epochs: int = 10
    """Epochs between two steps of the staircase."""

    decay_factor: float = 0.5
    """Factor of each step of the staircase, (0, 1]."""

    clip_value: float | None = 10.0
    """Clip each component of the gradient to +- this; null: no clipping."""


@dataclass
class TrainingConfig:
    """How long, in which precision, and which epoch is kept."""

    epochs: int = 10
    """Epochs in all, warm-up included."""

    warmup_epochs: int = 1
    """First epochs, in which the backbone stands still and the new layers learn."""

    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """Keras dtype policy. Embeddings and loss are float32 in all of them."""

    jit_compile: Literal["auto"] | bool = "auto"
    """XLA: auto turns it on with a GPU alone, since on a CPU it slows convolutions down."""

    selection: Literal["held_out", "reference_protocol", "last"] = "held_out"
    """Which epoch is kept: the best on held-out training classes; the best on the test classes,
    as papers do, which flatters; or the last, with all the training classes used."""

    held_out_fraction: float = 0.15
    """Share of the training classes held out for selection, (0, 1)."""


@dataclass
class EvaluationConfig:
    """Recall@K on classes that training never saw."""

    ks: tuple[int, ...] = (1, 2, 4, 8)
    """The K of Recall@K."""

    map_at_r: bool = False
    """Measure MAP@R at each epoch too; as many neighbours are searched as a class has images."""

    every: int = 1
    """Epochs from one evaluation to the next; the first and the last epoch always have one."""

    batch_size: int = 256
    """Images embedded at once."""

    search: Literal["auto", "exact", "scann"] = "auto"
    """Nearest neighbours: exact, approximate by ScaNN, or by ScaNN where that pays."""


@dataclass
class LoggingConfig:
    """Where else the numbers go; metrics.csv and TensorBoard logs are always written."""

    wandb_project: str | None = None
    """Weights & Biases project to log to (needs the extra `wandb`)."""


@dataclass
class FitConfig:
    """A training run."""

    dataset: str = "glyphs"
    """glyphs (built in), folder, manifest, cars196, or tfds:NAME."""

    data_dir: str | None = None
    """Folder of the images, or the manifest's path; not needed for glyphs."""

    run_dir: str | None = None
    """New folder for everything this run writes. Default: runs/<dataset>-<n>."""

    loss: LossName = "proxy_anchor"
    """The loss; its settings are in loss_options."""

    seed: int = 0
    """Seed of the weights, the order of the data, the augmentation and the held-out classes."""

    data: DataConfig = field(default_factory=DataConfig)
    batches: BatchConfig = field(default_factory=BatchConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss_options: LossOptions = field(default_factory=LossOptions)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)


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

    json: str | None = None
    """New file for the result as JSON."""

    picture: str | None = None
    """New file for a picture of what was found for a few queries, such as found.png."""


@dataclass
class EmbedConfig:
    """Embeddings of image files."""

    images: str
    """Folder with class folders, or of images alone, or a manifest (CSV)."""

    out: str
    """New .npz file: embeddings float32 (N, D), labels int32 (N,), class_names, paths, and which
    model and crop_fraction they are of."""

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


@dataclass
class CompareConfig:
    """A comparison: some runs of fit that differ in a few settings, each with several seeds."""

    out: str
    """Folder for the table and the pictures; a call with the same settings replaces them."""

    runs: list[dict[str, Any]]
    """The lines of the table. Each has a name, and the settings of fit in which it differs."""

    base: str = "glyphs"
    """Settings that all runs share: an experiment of fit by its name, or a YAML file."""

    settings: dict[str, Any] = field(default_factory=dict)
    """Settings of fit that stand above those of base."""

    vary: dict[str, list[Any]] = field(default_factory=dict)
    """A study: one or two settings of fit by their dotted names, and the values of each."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds; every run is trained with each."""

    data_dir: str | None = None
    """Folder of the images, or the manifest's path. Default: that of base."""

    train: bool = True
    """false: report what is trained already, and leave the rest."""

    cache: str = "runs/compared"
    """Folder of the trained runs. Comparisons share it: a run of the same settings is trained
    once."""
