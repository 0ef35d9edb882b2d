"""The models of a run, from its settings."""

import keras
import tensorflow as tf

from pa_keras.arguments.image_size import as_size
from pa_keras.config import FitConfig
from pa_keras.models import embedding_model
from pa_keras.runs.batches import training_size
from pa_keras.runs.loss import make_training_model
from pa_keras.runs.own_model import load_like, own_model
from pa_keras.training.distribution import share_batch_statistics
from pa_keras.training.training_model import TrainingModel


def make_models(config: FitConfig, num_classes: int) -> tuple[keras.Model, keras.Model]:
    """The model to train, and the embedding model at the image size of the evaluation.

    If training and evaluation have the same image size, and the weights are not averaged, the
    second is a part of the first. Both are created in the scope of the current strategy.
    """
    keras.utils.set_random_seed(config.seed)
    if config.training.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.config.set_dtype_policy(config.training.precision)
    settings = config.model
    evaluation_size = as_size(config.data.image_size)
    size = training_size(config.data, config.augmentation)

    file = own_model(settings.weights)

    def embedder(size: tuple[int, int]) -> keras.Model:
        def with_backbone(weights: str | None) -> keras.Model:
            return embedding_model(
                settings.backbone, settings.embedding_size, size, weights, settings.batch_norm
            )

        if file is None:
            return with_backbone(settings.weights)
        return load_like(file, with_backbone, settings.backbone, settings.embedding_size)

    trained = embedder(size)
    model = make_training_model(config.loss, config.loss_options, trained, num_classes)
    share_batch_statistics(model)
    chunks = config.training.batch_chunks
    model = TrainingModel(model.input, model.output, name=model.name, chunks=chunks)
    if size == evaluation_size and not config.training.weight_averaging:
        return model, trained
    # Built with the same weights: without them, some networks scale pixels differently.
    evaluated = embedder(evaluation_size)
    evaluated.set_weights(trained.get_weights())
    return model, evaluated
