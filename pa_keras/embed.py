"""`python -m pa_keras.embed`: embeds image files and writes an .npz."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pa_keras import cli
from pa_keras.config import EmbedConfig

if TYPE_CHECKING:
    import numpy as np

    from pa_keras.datasets import Images

PROGRAM = "python -m pa_keras.embed"


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the settings and embeds."""
    cli.run_from(
        arguments,
        EmbedConfig,
        PROGRAM,
        "Writes the embeddings, labels and paths of all images of a folder or manifest to an .npz.",
        _run,
    )


def _run(config: EmbedConfig) -> None:
    # TensorFlow is imported only here, so that --help does not wait for it.
    import numpy as np

    from pa_keras import datasets, files
    from pa_keras.index import Chunks
    from pa_keras.index.model import embedding
    from pa_keras.models import checksum, in_float32
    from pa_keras.pipelines import check_images
    from pa_keras.runs.load import crop_fraction_of, load_trained

    if not config.out.endswith(".npz"):
        raise ValueError(f"Expected --out to end with .npz; received {config.out!r}.")
    cli.expect_new(config.out)
    out = Path(config.out)
    unfinished = out.with_name(f"{out.name}.unfinished")
    trained, settings = load_trained(config.source.run, config.source.model)
    model = in_float32(trained)  # like exports, whose embeddings search this gallery
    crop_fraction = crop_fraction_of(settings, config.source.crop_fraction)
    images = datasets.images_at(config.images)
    on_bad_image = config.source.on_bad_image or "error"
    model_checksum = checksum(model)
    key = f"{model_checksum} {crop_fraction} {on_bad_image}"
    unfinished.mkdir(exist_ok=True)
    with files.locked(unfinished / "lock", f"writes {out}", "Wait until it has ended."):
        cli.expect_new(config.out)  # another process may have written it meanwhile
        chunks = Chunks(unfinished, images.paths, key)
        good = chunks.checked(lambda paths: check_images(paths, on_bad_image).good)
        embed = embedding(model, crop_fraction, config.batch_size)
        embeddings = chunks.embedded(good, embed)
        arrays: dict[str, Any] = {
            "embeddings": embeddings,
            **_described(images.take(good)),
            # An export rejects a gallery with another model or another preprocessing.
            "checksum": model_checksum,
            "crop_fraction": crop_fraction,
        }
        then = f"{files.START_AGAIN}: it continues"
        files.save_whole(lambda path: np.savez(path, **arrays), out, then)
        chunks.discard()
        files.delete([unfinished / "lock"], unfinished)
    sys.stdout.write(f"{out}: {len(good)} embeddings of {embeddings.shape[1]} numbers\n")


def _described(images: "Images") -> dict[str, "np.ndarray"]:
    import numpy as np

    return {
        "labels": images.labels,
        "class_names": np.asarray(images.class_names),
        "paths": np.asarray(images.paths),
    }


if __name__ == "__main__":
    main()
