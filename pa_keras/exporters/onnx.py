"""An ONNX file of an embedding model, for onnxruntime and everything else that reads ONNX."""

from pathlib import Path

import keras

from pa_keras.exporters.pixels import pixels_to_embedding, write_sidecar

_OPSET = 18


def to_onnx(
    model: keras.Model,
    path: str | Path,
    *,
    batch_size: int | None = None,
    crop_fraction: float = 0.875,
) -> Path:
    """Exports an embedding model: "images" (B, H, W, 3), 0..255, to "embedding" (B, D).

    Args:
        model: embedding model of float32 layers.
        path: file to write; it is replaced. A sidecar .json beside it tells how to prepare images.
        batch_size: images in a call. Default None: any number.
        crop_fraction: of the evaluation preprocessing, for the sidecar, in (0, 1].

    Returns:
        The path.

    Raises:
        ImportError: tf2onnx is not installed.
        ValueError: not an embedding model, or a batch_size below 1.

    Example:
        >>> to_onnx(model, "cars.onnx")  # doctest: +SKIP
        PosixPath('cars.onnx')
    """
    try:
        import tf2onnx
    except ImportError as error:
        raise ImportError(
            'Expected tf2onnx to write ONNX; install it: pip install "pa_keras[onnx]".'
        ) from error
    path = Path(path)
    embed = pixels_to_embedding(model, batch_size)
    tf2onnx.convert.from_function(
        embed, input_signature=embed.input_signature, opset=_OPSET, output_path=str(path)
    )
    write_sidecar(path, model, crop_fraction=crop_fraction, batch_size=batch_size)
    return path
