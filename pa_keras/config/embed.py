"""Settings of embed."""

from dataclasses import dataclass, field

from pa_keras.config.model_source import FLAT, ModelSource


@dataclass
class EmbedConfig:
    """Embeddings of image files."""

    images: str
    """Folder with class folders, or of images alone, or a manifest (CSV)."""

    out: str
    """New .npz file: embeddings float32 (N, D), labels int32 (N,), class_names, paths, and which
    model and crop_fraction they are of."""

    source: ModelSource = field(default_factory=ModelSource, metadata=FLAT)

    batch_size: int = 256
    """Images embedded at once."""
