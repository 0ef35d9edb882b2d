"""Queries a TensorFlow Serving server over REST; needs only Python.

    python rest_client.py http://localhost:8501 NAME IMAGE... [--neighbours] [--version N]

Prints one line of JSON per image: its embedding, or the IDs, labels and similarities of its
neighbours, the nearest first.
"""

import argparse
import base64
import json
import sys
import urllib.error
import urllib.request
from pathlib import Path


def predict(
    server: str,
    model: str,
    images: list[bytes],
    signature: str = "serving_default",
    version: int | None = None,
    timeout: float = 60.0,
) -> list:
    """Sends image files as one batch and returns a prediction for each image.

    Args:
        server: Address, such as "http://localhost:8501".
        model: Name of the model.
        images: Contents of image files: JPEG, PNG, WebP, GIF or BMP.
        signature: "serving_default" (default) gives a list of numbers for each image,
            "neighbours_of_images" gives {"ids": [...], "labels": [...], "similarities": [...]}.
        version: Version of the model. Default None: the newest that is served.
        timeout: Seconds to wait. Default 60.

    Raises:
        ValueError: If there are no images.
        RuntimeError: If the server rejects the request, with the server's message.
    """
    if not images:
        raise ValueError("Expected one image or more; an empty batch may crash the server.")
    server = server if "://" in server else f"http://{server}"
    instances = [{"image_bytes": {"b64": base64.b64encode(each).decode()}} for each in images]
    path = f"/v1/models/{model}" + (f"/versions/{version}" if version else "") + ":predict"
    request = urllib.request.Request(
        server.rstrip("/") + path,
        data=json.dumps({"signature_name": signature, "instances": instances}).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return json.load(answer)["predictions"]
    except urllib.error.HTTPError as error:
        text = error.read().decode(errors="replace")
        raise RuntimeError(f"The server answered {error.code}: {text}") from error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("server", help="address, such as http://localhost:8501")
    parser.add_argument("model", help="name of the model")
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--neighbours", action="store_true", help="search instead of embedding")
    parser.add_argument("--version", type=int, help="version of the model; default: the newest")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds to wait")
    options = parser.parse_args()
    signature = "neighbours_of_images" if options.neighbours else "serving_default"
    try:
        contents = [path.read_bytes() for path in options.images]
        predictions = predict(
            options.server, options.model, contents, signature, options.version, options.timeout
        )
    except (OSError, RuntimeError) as error:
        sys.exit(f"error: {error}")
    for path, prediction in zip(options.images, predictions, strict=True):
        found = prediction if options.neighbours else {"embedding": prediction}
        sys.stdout.write(json.dumps({"image": str(path), **found}) + "\n")


if __name__ == "__main__":
    main()
