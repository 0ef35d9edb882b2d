"""`python -m pa_keras.plots losses`: draws which pairs each loss attracts and repels."""

import sys
from collections.abc import Sequence
from pathlib import Path

from pa_keras import cli


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line and draws the picture."""
    parser = cli.Parser(
        prog="python -m pa_keras.plots", description="Draws pictures that need no training."
    )
    parser.add_argument(
        "what",
        choices=["losses"],
        help="losses: which embeddings and proxies attract (green) and repel (red) each other "
        "under each loss, by their weights in its gradient on a small batch",
    )
    parser.add_argument("--out", default="losses.png", help="new picture; default: %(default)s")
    out = parser.parse_args(arguments).out
    cli.run_command(lambda: _losses(out))


def _losses(out: str) -> None:
    # Imported after the arguments are read, so that --help does not wait for TensorFlow.
    from pa_keras import losses, plots
    from pa_keras.plots.loss_gradients import draw_loss_gradients

    cli.expect_new(out)
    plots.expect_picture(out)
    draw_loss_gradients(
        {
            "Proxy-Anchor": losses.ProxyAnchorLoss(),
            "Proxy-NCA": losses.ProxyNCALoss(),
            "Normalized softmax": losses.NormalizedSoftmaxLoss(),
            "CosFace": losses.CosFaceLoss(),
            "ArcFace": losses.ArcFaceLoss(),
        },
        {
            "SoftTriple": losses.SoftTripleLoss(),
            "Sub-center ArcFace": losses.SubCenterArcFaceLoss(),
        },
        {
            "Contrastive": losses.ContrastiveLoss(),
            "Triplet (semi-hard)": losses.TripletLoss(),
            "Triplet (hard)": losses.TripletLoss(mining="hard"),
            "N-pair": losses.NPairLoss(),
            "Lifted structure": losses.LiftedStructureLoss(),
            "Multi-Similarity": losses.MultiSimilarityLoss(),
            "SupCon": losses.SupConLoss(),
            "Circle": losses.CircleLoss(),
            "Smooth-AP": losses.SmoothAPLoss(),
        },
        Path(out),
    )
    sys.stdout.write(f"{out}: green attracts, red repels, the width is the pair's weight.\n")


if __name__ == "__main__":
    main()
