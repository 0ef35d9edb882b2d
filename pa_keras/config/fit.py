"""Settings of a training run."""

from dataclasses import dataclass, field
from typing import Literal

from pa_keras.config.data import AugmentationConfig, BatchConfig, DataConfig
from pa_keras.config.loss import LossName, LossOptions


@dataclass
class ModelConfig:
    """The network from pixels to unit vectors."""

    backbone: str = "efficientnet_lite0"
    """A backbone's name: efficientnet_lite0, efficientnetv2b0, resnet50, bn_inception, ..., or
    keras_hub/PRESET (docs/backbones.md)."""

    weights: str | None = "imagenet"
    """imagenet, a weights file (.weights.h5; .pth for networks of PyTorch), or null: random."""

    embedding_size: int = 512
    """Length of the embedding, D."""

    batch_norm: Literal["train", "frozen", "frozen_statistics"] = "frozen"
    """Batch normalization: trained, wholly frozen, or with trained scale and shift only."""


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
    """Compile the training step by XLA: auto does so for one replica in one process on a GPU,
    unless deterministic is set. On a CPU XLA slows convolutions down; a TPU always uses it."""

    batch_chunks: int = field(default=1, metadata={"short": "--batch_chunks"})
    """Parts of a batch that go through the network one after another: the same gradients, with the
    activations of one part in memory, in about 4/3 of the time (docs/large_batches.md)."""

    steps_per_execution: int = field(default=1, metadata={"short": "--steps_per_execution"})
    """Steps that TensorFlow takes before it returns to Python; for small networks on a GPU."""

    selection: Literal["held_out", "reference_protocol", "last"] = "held_out"
    """Which epoch is kept: the best on held-out training classes; the best on the test classes,
    as papers do, which flatters; or the last, with all the training classes used."""

    held_out_fraction: float = 0.15
    """Share of the training classes held out for selection, (0, 1)."""

    deterministic: bool = field(default=False, metadata={"short": "--deterministic"})
    """The same run twice gives the same bits on the same machine; slower."""

    save_minutes: float = 10.0
    """Minutes from one saved state to the next within an epoch; saving takes 2 % of the time at
    most."""

    max_hours: float | None = field(default=None, metadata={"short": "--max_hours"})
    """Save, stop and exit with code 0 after so many hours of this process; --resume goes on."""

    strategy: Literal["none", "mirrored", "multi_worker", "tpu"] = field(
        default="none", metadata={"short": "--strategy"}
    )
    """Devices that share each batch: one; this machine's GPUs; several processes, each started by
    the same command; or a TPU. The result is that of one device (docs/distributed.md)."""

    cluster: Literal["auto", "tf_config", "slurm", "kubernetes"] = "auto"
    """Where multi_worker finds the other processes; auto: what the environment has."""

    profile: bool | str = field(default=False, metadata={"short": "--profile"})
    """Write a TensorBoard trace of some steps of the warm-up and of the training after it: true for
    the steps 11 to 20 of each, or "first:last"."""


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

    cache_gigabytes: float = 2.0
    """From the first evaluation on, the pixels that the epochs' evaluations see stay in memory if
    they take no more than this; 0: they are decoded anew each time."""

    search: Literal["auto", "exact", "scann"] = "auto"
    """Nearest neighbours: exact, approximate by ScaNN, or by ScaNN where that pays."""


@dataclass
class LoggingConfig:
    """Where else the numbers go; metrics.csv and TensorBoard logs are always written."""

    wandb_project: str | None = None
    """Weights & Biases project to log to (needs the extra `wandb`)."""

    pictures: bool = True
    """Put a picture of what is found for six queries into TensorBoard at each evaluation."""


@dataclass
class FitConfig:
    """A training run."""

    dataset: str = "glyphs"
    """glyphs (built in), folder, manifest, cars196, cub200, sop, inshop, or tfds:NAME."""

    data_dir: str | None = None
    """Folder of the images, or the manifest's path; not needed for glyphs."""

    run_dir: str | None = None
    """New folder for everything this run writes. Default: runs/<dataset>-<n>."""

    loss: LossName = "proxy_anchor"
    """The loss; its settings are in loss_options."""

    recipe: Literal["default", "reference"] = "default"
    """reference: the settings of the paper's authors, and an optimizer to the letter of theirs; on
    the command line above those of --config, below the other arguments (docs/training.md)."""

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
