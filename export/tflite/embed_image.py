"""Embeds images with an exported TFLite file; needs only NumPy, Pillow and LiteRT.

    python embed_image.py MODEL.tflite IMAGE... [--threads 2]

Prints one line of JSON per image. MODEL.tflite.json, which belongs to the file, says how to prepare
images.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image


def prepare(image: Image.Image, sidecar: dict) -> np.ndarray:
    """Returns the pixels for the model, (height, width, 3), in the dtype of the .json file.

    In one step, it resizes the image, bilinear and antialiased, to cover the size / crop_fraction,
    and crops the centre.
    """
    wanted = sidecar["input"]
    _, height, width, _ = wanted["shape"]
    cover_height = round(height / wanted["crop_fraction"])
    cover_width = round(width / wanted["crop_fraction"])
    if image.width * cover_height >= image.height * cover_width:
        resized = (image.width * cover_height // image.height, cover_height)
    else:
        resized = (cover_width, image.height * cover_width // image.width)
    left, top = (resized[0] - width) // 2, (resized[1] - height) // 2
    across, down = image.width / resized[0], image.height / resized[1]
    box = (left * across, top * down, (left + width) * across, (top + height) * down)
    if image.mode.startswith("I"):  # 16 bits: take the high byte, as Pillow would clip at 255
        image = Image.fromarray((np.asarray(image) >> 8).astype("uint8"))
    pixels = image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR, box)
    return np.asarray(pixels, wanted["dtype"])


def embed(model: Path, pixels: np.ndarray, threads: int = 2) -> np.ndarray:
    """Returns embeddings float32 (N, D) of unit length of images (N, height, width, 3)."""
    interpreter = Interpreter(str(model), num_threads=threads)
    (entry,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()
    fixed = int(entry["shape_signature"][0])  # -1: any number of images
    size = fixed if fixed > 0 else len(pixels)
    interpreter.resize_tensor_input(entry["index"], (size, *pixels.shape[1:]))
    interpreter.allocate_tensors()
    found = []
    for start in range(0, len(pixels), size):
        batch = pixels[start : start + size]
        missing = size - len(batch)
        padded = np.concatenate([batch, np.zeros((missing, *batch.shape[1:]), batch.dtype)])
        interpreter.set_tensor(entry["index"], padded)
        interpreter.invoke()
        found.append(interpreter.get_tensor(output["index"])[: len(batch)])
    return np.concatenate(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="the .tflite, with its .json beside it")
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    try:
        sidecar = json.loads(Path(f"{options.model}.json").read_text())
        pixels = np.stack([prepare(Image.open(path), sidecar) for path in options.images])
        embeddings = embed(options.model, pixels, options.threads)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    for path, embedding in zip(options.images, embeddings, strict=True):
        line = {"image": str(path), "embedding": embedding.tolist()}
        sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
