"""Settings of a training run."""

from dataclasses import dataclass, field
from typing import Literal

from pa_keras.config.data import AugmentationConfig, BatchConfig, DataConfig
from pa_keras.config.loss import LossName, LossOptions


@dataclass
class ModelConfig:
    """The embedding model, from pixels to embeddings of unit length."""

    backbone: str = "efficientnet_lite0"
    """Name of the backbone: efficientnet_lite0, efficientnetv2b0, resnet50, bn_inception, ..., or
    keras_hub/PRESET (docs/backbones.md)."""

    weights: str | None = "imagenet"
    """imagenet, a weights file (.weights.h5, or .pth from PyTorch), or null for random weights. Or
    a model of your own to continue from: a run folder or its best.keras (docs/training.md)."""

    embedding_size: int = 512
    """Length of the embedding, D."""

    batch_norm: Literal["train", "frozen", "frozen_statistics"] = "frozen"
    """Batch normalization: trained, completely frozen, or with only scale and shift trained."""

    freeze_blocks: int = 0
    """First blocks of the backbone that are never trained, with their batch normalization;
    --dry-run prints how many blocks there are (docs/training.md)."""

    proxies_init: Literal["random", "class_means"] = "random"
    """Start of the proxies: random, or the mean embedding of up to 50 images of each class. A run
    from a model of your own takes its proxies, and class means for new classes."""


@dataclass
class OptimizerConfig:
    """AdamW with two learning rates."""

    learning_rate: float = 3e-4
    """Peak learning rate of the backbone and the embedding layer."""

    proxies_multiplier: float = 100.0
    """Factor on learning_rate for the proxies, if the loss has proxies."""

    layer_decay: float = 1.0
    """Ratio of the learning rates of two successive blocks of the backbone, (0, 1]; the last block
    has this ratio to the embedding layer. 1: all have the same rate (docs/training.md)."""

    weight_decay: float = 1e-4
    """Decoupled weight decay of all weights, per unit of their learning rate."""

    decay: Literal["cosine", "staircase", "constant"] = "cosine"
    """Schedule of the rates: cosine to 1 %, times decay_factor every decay_epochs, or constant."""

    decay_epochs: int = 10
    """Epochs between two steps of the staircase schedule."""

    decay_factor: float = 0.5
    """Factor of each step of the staircase schedule, (0, 1]."""

    clip_value: float | None = 10.0
    """Clip each gradient component to [-clip_value, clip_value]; null: no clipping."""


@dataclass
class TrainingConfig:
    """Length and precision of the training, and which epoch is kept."""

    epochs: int = 10
    """Total number of epochs, including the warm-up."""

    warmup_epochs: int = 1
    """First epochs, in which only the embedding layer and the proxies are trained."""

    weight_averaging: float = 0.0
    """Momentum of an exponential moving average of the weights, [0, 1), such as 0.99; the averages
    are evaluated and saved as the best model. Training continues without them, but takes them
    over at the end of the warm-up. 0: off."""

    precision: Literal["float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """Keras dtype policy. Embeddings and loss are float32 in every policy."""

    jit_compile: Literal["auto"] | bool = "auto"
    """Compile the training step with XLA. auto: only with one replica in one process on a GPU, and
    not if deterministic is set. On a CPU, XLA slows convolutions down; a TPU always uses it."""

    batch_chunks: int = field(default=1, metadata={"short": "--batch_chunks"})
    """Chunks of a batch that go through the network one after another (gradient cache). Gradients
    are the same; memory holds the activations of one chunk; it takes about 4/3 of the time
    (docs/large_batches.md)."""

    steps_per_execution: int = field(default=1, metadata={"short": "--steps_per_execution"})
    """Steps that TensorFlow runs before it returns to Python; helps small networks on a GPU."""

    selection: Literal["held_out", "reference_protocol", "last"] = "held_out"
    """Which epoch is kept: the best on held-out training classes, or on the split val if the data
    set has one; the best on the test classes, as in papers, which is optimistic; or the last, after
    training on all the training classes."""

    held_out_fraction: float = 0.15
    """Share of the training classes that are held out for selection, (0, 1), if there is no split
    val."""

    deterministic: bool = field(default=False, metadata={"short": "--deterministic"})
    """Make repeated runs on the same machine identical bit for bit; slower."""

    save_minutes: float = 10.0
    """Minutes between two checkpoints within an epoch. Saving takes at most 2 % of the time."""

    max_hours: float | None = field(default=None, metadata={"short": "--max_hours"})
    """Save, stop and exit with code 0 after this many hours; --resume continues the run."""

    strategy: Literal["none", "mirrored", "multi_worker", "tpu"] = field(
        default="none", metadata={"short": "--strategy"}
    )
    """Devices that share each batch: one device; all GPUs of this machine; several processes that
    run the same command; or a TPU. The result is that of one device (docs/distributed.md)."""

    cluster: Literal["auto", "tf_config", "slurm", "kubernetes"] = "auto"
    """How multi_worker finds the other processes; auto: detect it from the environment."""

    profile: bool | str = field(default=False, metadata={"short": "--profile"})
    """Write a TensorBoard trace of some steps of each phase, the warm-up and the rest: true for
    steps 11 to 20, or "first:last"."""


@dataclass
class EvaluationConfig:
    """Evaluation during training, on classes that are not trained on."""

    ks: tuple[int, ...] = (1, 2, 4, 8)
    """The values of K for Recall@K."""

    map_at_r: bool = False
    """Also measure MAP@R, which needs as many neighbours as the largest class has images."""

    before_training: bool = True
    """Also measure the network before its first step, as epoch 0, to see what training gains; on
    the test classes if no epoch is measured (selection last)."""

    every: int = 1
    """Epochs between two evaluations. The first and the last epoch are always evaluated."""

    batch_size: int = 256
    """Images embedded at once."""

    cache_gigabytes: float = 2.0
    """Keep the decoded evaluation images in memory after the first evaluation if they take no more
    than this; 0: decode them again at each evaluation."""

    search: Literal["auto", "exact", "scann"] = "auto"
    """Nearest-neighbour search: exact, approximate (ScaNN), or ScaNN only where it is faster."""


@dataclass
class LoggingConfig:
    """Additional logs; metrics.csv and TensorBoard logs are always written."""

    wandb_project: str | None = None
    """Weights & Biases project to log to; needs the extra `wandb`."""

    pictures: bool = True
    """Show the neighbours of six queries in TensorBoard at each evaluation."""


@dataclass
class FitConfig:
    """A training run."""

    dataset: str = "glyphs"
    """glyphs (built in), folder, manifest, cars196, cub200, sop, inshop, or tfds:NAME."""

    data_dir: str | None = None
    """Folder of the images, or path of the manifest; not needed for glyphs."""

    run_dir: str | None = None
    """New folder for everything that this run writes. Default: runs/<dataset>-<n>."""

    loss: LossName = "proxy_anchor"
    """Name of the loss. Its settings are in loss_options."""

    recipe: Literal["default", "reference"] = "default"
    """reference: the settings and the exact optimizer of the paper's authors. On the command line,
    a recipe overrides --config, and the other arguments override the recipe (docs/training.md)."""

    seed: int = 0
    """Seed of the weights, the data order, the augmentation and the held-out classes."""

    data: DataConfig = field(default_factory=DataConfig)
    batches: BatchConfig = field(default_factory=BatchConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss_options: LossOptions = field(default_factory=LossOptions)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)
