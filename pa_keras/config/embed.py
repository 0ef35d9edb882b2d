"""Settings of embed."""

from dataclasses import dataclass, field

from pa_keras.config.model_source import FLAT, ModelSource


@dataclass
class EmbedConfig:
    """Embedding of image files."""

    images: str
    """Folder of images, with or without class folders, or a manifest (CSV). Classes are
    optional."""

    out: str
    """New .npz file: embeddings float32 (N, D) of unit length, labels int32 (N,), class_names,
    paths, the checksum of the model, and crop_fraction. If the command is stopped, the same command
    continues from OUT.unfinished."""

    source: ModelSource = field(default_factory=ModelSource, metadata=FLAT)

    batch_size: int = 256
    """Images embedded at once."""
