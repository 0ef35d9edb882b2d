"""Settings of embed."""

from dataclasses import dataclass, field

from pa_keras.config.model_source import FLAT, ModelSource


@dataclass
class EmbedConfig:
    """Embeddings of image files."""

    images: str
    """Folder of images, with class folders or without, or a manifest (CSV); no class is needed."""

    out: str
    """New .npz file: embeddings float32 (N, D) of unit length, labels int32 (N,), class_names,
    paths, and which model and crop_fraction they are of. After a stop, the same command continues
    from what it keeps in OUT.unfinished."""

    source: ModelSource = field(default_factory=ModelSource, metadata=FLAT)

    batch_size: int = 256
    """Images embedded at once."""
