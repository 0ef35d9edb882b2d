"""The loss of a run, from its settings, with its defaults, batches and proxies."""

import dataclasses
import inspect
import logging
from dataclasses import dataclass
from typing import cast

import keras
import numpy as np

from pa_keras import losses
from pa_keras.config import BatchConfig, FitConfig, LossOptions
from pa_keras.layers import SoftTripleRegularizer
from pa_keras.layers.cross_batch_memory import WARM_UP_STEPS
from pa_keras.models import MEMORY_LOSSES, with_memory, with_proxies
from pa_keras.pipelines.sampling import expect_counts
from pa_keras.training import adamw, layer_decay_factors, two_rate_adamw

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kind:
    """A loss and its requirements.

    Args:
        make: Class of the loss.
        cost: Number of terms in an epoch over M images of C classes with K centers per class, if
            the loss takes every tuple.
        images_per_class: Images per class of the balanced batches that a pair loss needs. None: a
            proxy loss, which takes random batches.
        centers_per_class: Default number of proxies of each class. None: a class has one proxy.
        has_regularizer: Whether `SoftTripleRegularizer` pulls the proxies of a class together.
    """

    make: type[keras.losses.Loss]
    cost: str
    images_per_class: int | None = None
    centers_per_class: int | None = None
    has_regularizer: bool = False

    @property
    def takes_memory(self) -> bool:
        """Whether it can compare a batch with a memory of earlier batches."""
        return issubclass(self.make, MEMORY_LOSSES)

    @property
    def is_of_pairs(self) -> bool:
        """Whether it is a pair loss."""
        return self.images_per_class is not None


# The papers of N-pair and Multi-Similarity use 2 and 5 images per class; the papers of the other
# pair losses give no number, and these losses share that of Multi-Similarity.
KINDS = {
    "proxy_anchor": Kind(losses.ProxyAnchorLoss, "O(MC)"),
    "proxy_nca": Kind(losses.ProxyNCALoss, "O(MC)"),
    "soft_triple": Kind(losses.SoftTripleLoss, "O(MCK)", None, 10, has_regularizer=True),
    "normalized_softmax": Kind(losses.NormalizedSoftmaxLoss, "O(MC)"),
    "cosface": Kind(losses.CosFaceLoss, "O(MC)"),
    "arcface": Kind(losses.ArcFaceLoss, "O(MC)"),
    "sub_center_arcface": Kind(losses.SubCenterArcFaceLoss, "O(MCK)", None, 3),
    "contrastive": Kind(losses.ContrastiveLoss, "O(M²)", 5),
    "triplet": Kind(losses.TripletLoss, "O(M³)", 5),
    "n_pair": Kind(losses.NPairLoss, "O(M³)", 2),
    "lifted_structure": Kind(losses.LiftedStructureLoss, "O(M³)", 5),
    "multi_similarity": Kind(losses.MultiSimilarityLoss, "O(M²)", 5),
    "sup_con": Kind(losses.SupConLoss, "O(M²)", 5),
    "circle": Kind(losses.CircleLoss, "O(M²)", 5),
    "smooth_ap": Kind(losses.SmoothAPLoss, "O(M³)", 5),
}


def resolved(config: FitConfig) -> FitConfig:
    """The settings with the defaults of the loss and of its batches in place of null.

    Raises:
        ValueError: The loss does not have a setting, the memory is smaller than a batch, or the
            sampling contradicts other settings.
    """
    _expect_proxies(config.loss, config.model.proxies_init)
    known = _defaults(config.loss)
    given = {k: v for k, v in vars(config.loss_options).items() if v is not None}
    for name in given:
        if name not in known:
            has = ", ".join(known) or "none"
            raise ValueError(
                f"Expected a setting of the loss {config.loss}, which has {has}; received "
                f"loss_options.{name}. Leave it out, or give null where a file has it."
            )
    options = dataclasses.replace(config.loss_options, **{**known, **given})
    size = options.memory_size
    if size and size < config.batches.batch_size:
        raise ValueError(
            f"Expected loss_options.memory_size of at least batches.batch_size="
            f"{config.batches.batch_size}, or 0 for no memory; received {size}."
        )
    batches = _batches(config.loss, config.batches)
    return dataclasses.replace(config, loss_options=options, batches=batches)


def make_loss(name: str, settings: LossOptions, num_classes: int) -> keras.losses.Loss:
    """The loss of `resolved` settings."""
    make = KINDS[name].make
    known = inspect.signature(make).parameters
    options = {k: v for k, v in vars(settings).items() if v is not None and k in known}
    if name == "proxy_anchor":
        options["num_classes"] = num_classes  # lets the loss check the number of its inputs
    return make(**options)


def make_training_model(
    loss: str, settings: LossOptions, embedder: keras.Model, num_classes: int
) -> keras.Model:
    """The training model, whose output is the input of the loss of `resolved` settings."""
    regularizer = None
    if settings.memory_size:
        return with_memory(embedder, settings.memory_size, cast(int, settings.memory_warm_up_steps))
    if KINDS[loss].is_of_pairs:
        images = keras.Input(embedder.input_shape[1:], name="images")
        return keras.Model(images, embedder(images), name="with_embeddings")
    if KINDS[loss].has_regularizer:
        strength = settings.centers_strength
        regularizer = SoftTripleRegularizer(*(() if strength is None else (strength,)))
    return with_proxies(embedder, num_classes, settings.centers_per_class, regularizer)


def make_optimizer(
    config: FitConfig,
    model: keras.Model,
    rate: float | keras.optimizers.schedules.LearningRateSchedule,
    proxies_rate: float | keras.optimizers.schedules.LearningRateSchedule,
) -> keras.optimizers.Optimizer:
    """AdamW, with a second learning rate if there are proxies."""
    settings = config.optimizer
    options = (
        settings.weight_decay,
        settings.clip_value,
        layer_decay_factors(model, settings.layer_decay),
        config.training.weight_averaging,
    )
    if KINDS[config.loss].is_of_pairs:
        return adamw(rate, *options)
    return two_rate_adamw(model, rate, proxies_rate, *options)


def check_pairs(loss: str, batches: BatchConfig, labels: np.ndarray) -> None:
    """Logs a warning for classes that are too small for the batches of `resolved` settings.

    Raises:
        ValueError: The loss is a pair loss, and no class has two images.
    """
    of_pairs = KINDS[loss].is_of_pairs
    if of_pairs and batches.sampling == "random":
        logger.warning(
            "Random batches may have no two images of a class, which %s rejects; balanced batches "
            "always have some.", loss,
        )  # fmt: skip
    counts = np.bincount(labels)
    counts = counts[counts > 0]
    if of_pairs and counts.max() < 2:
        raise ValueError(
            f"Expected a class with 2 training images or more for the loss {loss}, which "
            f"compares pairs; received {len(counts)} classes of one image each. Add images, or "
            "choose a proxy loss, such as proxy_anchor."
        )
    wanted = batches.images_per_class
    short = int((counts < (wanted or 0)).sum())
    if short:
        logger.warning(
            "%d of %d classes have fewer than %d images, batches.images_per_class: their images "
            "repeat within a batch, each time with another crop.", short, len(counts), wanted,
        )  # fmt: skip


def _expect_proxies(loss: str, proxies_init: str) -> None:
    if proxies_init != "random" and KINDS[loss].is_of_pairs:
        raise ValueError(
            f"Expected a proxy loss for model.proxies_init={proxies_init}; received {loss}, which "
            "has no proxies. Leave the setting out, or choose another loss."
        )


def _defaults(loss: str) -> dict[str, object]:
    parameters = inspect.signature(KINDS[loss].make).parameters.values()
    own = {p.name: p.default for p in parameters}
    names = [field.name for field in dataclasses.fields(LossOptions)]
    found = {name: own[name] for name in names if name in own}
    # Settings of the memory or the proxies, not of the loss.
    if KINDS[loss].takes_memory:
        found = {**found, "memory_size": 0, "memory_warm_up_steps": WARM_UP_STEPS}
    if KINDS[loss].centers_per_class is not None:
        found["centers_per_class"] = KINDS[loss].centers_per_class
    if KINDS[loss].has_regularizer:
        found["centers_strength"] = SoftTripleRegularizer().strength
    return found


def _batches(loss: str, batches: BatchConfig) -> BatchConfig:
    expect_counts(
        batch_size=batches.batch_size,
        classes_per_batch=batches.classes_per_batch,
        images_per_class=batches.images_per_class,
    )
    sizes_given = batches.classes_per_batch is not None or batches.images_per_class is not None
    of_loss = KINDS[loss].images_per_class
    match batches.sampling:
        case "random":
            if sizes_given:
                raise ValueError(
                    "Expected neither classes_per_batch nor images_per_class with "
                    "batches.sampling=random; leave them out, or choose balanced."
                )
            return batches
        case "auto" if not sizes_given and of_loss is None:
            return dataclasses.replace(batches, sampling="random")
    if batches.images_per_class is not None:
        images = batches.images_per_class
    elif batches.classes_per_batch is not None:
        images = batches.batch_size // batches.classes_per_batch
    else:
        images = _divisor(batches.batch_size, min(of_loss or 5, max(batches.batch_size // 2, 1)))
    classes = batches.classes_per_batch or batches.batch_size // images
    least = 1 if of_loss is None else 2
    if images < least or classes < least:
        raise ValueError(
            f"Expected a batch of {least} classes or more with {least} images or more each for the "
            f"loss {loss}; received batches.batch_size={batches.batch_size}, "
            f"which makes {classes} x {images}. Choose another batch_size that {of_loss or 5} "
            "divides, or other classes_per_batch and images_per_class."
        )
    return dataclasses.replace(
        batches, sampling="balanced", classes_per_batch=classes, images_per_class=images
    )


def _divisor(batch_size: int, largest: int) -> int:
    """The greatest divisor of the batch size up to `largest`."""
    return max(n for n in range(1, largest + 1) if batch_size % n == 0)
