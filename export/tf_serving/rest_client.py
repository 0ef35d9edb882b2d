"""Asks a TensorFlow Serving server over REST; needs nothing but Python.

    python rest_client.py http://localhost:8501 NAME IMAGE... [--neighbours] [--version N]

Prints a line of JSON an image: its embedding, or the ids, labels and similarities of its
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
    """Sends image files as one batch and returns a prediction an image.

    Args:
        server: such as "http://localhost:8501".
        model: name of the model.
        images: contents of the files, JPEG, PNG, WebP, GIF or BMP.
        signature: "serving_default" gives a list of numbers an image, "neighbours_of_images"
            gives {"ids": [...], "labels": [...], "similarities": [...]}.
        version: of the model; None is the newest that is served.
        timeout: seconds.

    Raises:
        ValueError: no images.
        RuntimeError: the server refuses the request; the message is the server's.
    """
    if not images:
        raise ValueError(
            "Expected one image or more; a server may not live through an empty batch."
        )
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
    parser.add_argument("server", help="such as http://localhost:8501")
    parser.add_argument("model", help="name of the model")
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--neighbours", action="store_true", help="search, instead of embedding")
    parser.add_argument("--version", type=int, help="of the model; default: the newest")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds")
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
