"""`python -m pa_keras.convert_weights`: converts PyTorch weights for a Keras backbone."""

import sys
from collections.abc import Sequence
from pathlib import Path

from pa_keras import cli, files

PROGRAM = "python -m pa_keras.convert_weights"


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line and converts."""
    parser = cli.Parser(
        prog=PROGRAM,
        description="Reads a PyTorch state dict, without PyTorch and without running code from the "
        "file, and writes the same weights for Keras. Every tensor must match; the classifier is "
        "left out. (fit also accepts a .pth file as --model.weights.)",
    )
    parser.add_argument(
        "--backbone",
        required=True,
        metavar="NAME",
        help="bn_inception, googlenet, torch_resnet18, torch_resnet34, torch_resnet50, "
        "torch_resnet101, or efficientnet_lite0 to efficientnet_lite4",
    )
    parser.add_argument(
        "--from", dest="source", required=True, metavar="FILE.pth", help="file of named tensors"
    )
    parser.add_argument(
        "--to", required=True, metavar="FILE.weights.h5", help="new file; nothing is overwritten"
    )
    asked = parser.parse_args(arguments)
    cli.log_to()
    cli.run_command(lambda: _convert(asked.backbone, asked.source, asked.to))


def _convert(name: str, source: str, target: str) -> None:
    if not target.endswith(".weights.h5"):
        raise ValueError(
            f"Expected a new file whose name ends in .weights.h5, as Keras requires; received "
            f"{target}. Use {name}.weights.h5, for example."
        )
    cli.expect_new(target)
    # Imported after the arguments are read, so that --help does not wait for TensorFlow.
    from pa_keras import backbones

    if name not in backbones.OF_TORCH:
        raise ValueError(
            f"Expected a backbone with PyTorch weights: {', '.join(backbones.OF_TORCH)}; "
            f"received {name!r}. Give one of them as --backbone."
        )
    if not source.endswith(".pth"):
        raise ValueError(
            f"Expected a PyTorch state dict in a .pth file; received {source}. If it is one, "
            "rename it to end in .pth."
        )
    backbone = backbones.build(name, (224, 224), source)  # weights do not depend on the image size

    def save(partial: str) -> None:
        # On a full disk, HDF5 would crash the process. Each tensor has its own header.
        size = sum(weight.numpy().nbytes + 4096 for weight in backbone.weights)
        files.expect_space(Path(partial), size)
        backbone.save_weights(partial)

    files.save_whole(save, Path(target), files.START_AGAIN)
    sys.stdout.write(
        f"{target}: {len(backbone.weights)} tensors, {backbone.count_params():,} numbers. Next: "
        f"python -m pa_keras.fit --model.backbone {name} --model.weights {target}\n"
    )


if __name__ == "__main__":
    main()
