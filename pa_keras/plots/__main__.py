"""`python -m pa_keras.plots losses`: the picture of what each loss pulls on."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line and draws."""
    parser = argparse.ArgumentParser(
        "python -m pa_keras.plots", description="Draws what needs no training."
    )
    parser.add_argument(
        "what",
        choices=["losses"],
        help="losses: which embeddings and proxies attract (green) and repel (red) each other "
        "under each loss, by the weights in its gradient on one small batch",
    )
    parser.add_argument("--out", default="losses.png", help="new picture; default: %(default)s")
    out = Path(parser.parse_args(arguments).out)
    if out.exists():
        sys.exit(f"error: Expected a new file; {out} is there already. Give another --out.")
    _losses(out)
    sys.stdout.write(f"{out}: green attracts, red repels, the width is the pair's weight.\n")


def _losses(out: Path) -> None:
    # After the arguments: --help does not wait for TensorFlow.
    from pa_keras import losses
    from pa_keras.plots.pulls import pulls

    pulls(
        {
            "Proxy-Anchor": losses.ProxyAnchorLoss(),
            "Proxy-NCA": losses.ProxyNCALoss(),
            "Normalized softmax": losses.NormalizedSoftmaxLoss(),
            "CosFace": losses.CosFaceLoss(),
            "ArcFace": losses.ArcFaceLoss(),
        },
        {"SoftTriple": losses.SoftTripleLoss()},
        {
            "Contrastive": losses.ContrastiveLoss(),
            "Triplet (semi-hard)": losses.TripletLoss(),
            "Triplet (hard)": losses.TripletLoss(mining="hard"),
            "N-pair": losses.NPairLoss(),
            "Lifted structure": losses.LiftedStructureLoss(),
            "Multi-Similarity": losses.MultiSimilarityLoss(),
        },
        out,
    )


if __name__ == "__main__":
    main()
