"""`python -m pa_keras.embed`: image files to an .npz of embeddings."""

import sys
from collections.abc import Sequence

from pa_keras import cli
from pa_keras.config import EmbedConfig

PROGRAM = "python -m pa_keras.embed"


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the settings and embeds."""
    cli.run_from(
        arguments,
        EmbedConfig,
        PROGRAM,
        "Writes embeddings, labels and paths of every image of a folder or manifest to an .npz.",
        _run,
    )


def _run(config: EmbedConfig) -> None:
    # TensorFlow is imported from here on, so that --help need not wait.
    import numpy as np

    from pa_keras import datasets
    from pa_keras.evaluation.evaluate import embed_images
    from pa_keras.models import checksum, in_float32
    from pa_keras.pipelines import check_images
    from pa_keras.runs.load import crop_fraction_of, load_trained

    if not config.out.endswith(".npz"):
        raise ValueError(f"Expected --out to end with .npz; received {config.out!r}.")
    cli.expect_new(config.out)
    trained, settings = load_trained(config.source.run, config.source.model)
    model = in_float32(trained)  # as exports compute: a gallery is searched by their embeddings
    crop_fraction = crop_fraction_of(settings, config.source.crop_fraction)
    images = datasets.images_at(config.images)
    images = images.take(check_images(images.paths, config.source.on_bad_image or "error").good)
    embeddings = embed_images(model, images, crop_fraction, config.batch_size)
    np.savez(
        config.out,
        embeddings=embeddings,
        labels=images.labels,
        class_names=np.asarray(images.class_names),
        paths=np.asarray(images.paths),
        # An export refuses a gallery of another model, or preprocessed in another way.
        checksum=checksum(model),
        crop_fraction=crop_fraction,
    )
    sys.stdout.write(f"{config.out}: {len(images)} embeddings of {embeddings.shape[1]} numbers\n")


if __name__ == "__main__":
    main()
