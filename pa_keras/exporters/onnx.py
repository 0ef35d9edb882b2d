"""Export of an embedding model to ONNX, for onnxruntime and other programs that read ONNX."""

from pathlib import Path

import keras

from pa_keras.exporters.pixels import expect_packages, pixels_to_embedding, write_sidecar

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
        model: Embedding model with float32 layers.
        path: File to write; it is replaced. A .json file beside it says how to prepare images.
        batch_size: Images in a call. Default None: any number.
        crop_fraction: Crop fraction of the evaluation preprocessing, (0, 1], for the .json file.
            Default 0.875.

    Returns:
        The path.

    Raises:
        ImportError: If onnx or tf2onnx is not installed.
        ValueError: If the model is not an embedding model, batch_size is below 1, or ONNX lacks an
            operation of the network.

    Example:
        >>> to_onnx(model, "cars.onnx")  # doctest: +SKIP
        PosixPath('cars.onnx')
    """
    expect_packages("onnx", "onnx", "tf2onnx")
    import onnx
    import tf2onnx

    path = Path(path)
    function = pixels_to_embedding(model, batch_size).get_concrete_function()
    (images,), (embedding,) = function.structured_input_signature[0], function.outputs
    names = [f"{images.name}:0"], [embedding.name]
    # Frozen first, because `tf2onnx.convert.from_function` mistakes captured constants, such as the
    # means of a Normalization layer, for inputs.
    frozen = tf2onnx.tf_loader.from_function(function, *names)
    graph, _ = tf2onnx.convert.from_graph_def(
        frozen,
        input_names=names[0],
        output_names=names[1],
        tensors_to_rename={names[0][0]: "images", names[1][0]: "embedding"},
        opset=_OPSET,
    )
    try:
        onnx.checker.check_model(graph, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ValueError(
            f"Expected a network of operations that ONNX has; {error}. Export another format."
        ) from error
    onnx.save(graph, path)
    write_sidecar(path, model, crop_fraction=crop_fraction, batch_size=batch_size)
    return path
