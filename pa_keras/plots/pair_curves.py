"""The ROC and the precision-recall curve of deciding by a cosine threshold."""

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from pa_keras.plots.thumbnails import save_picture
from pa_keras.retrieval.error_rates import PairRates, precision_recall


def pair_curves(found: Mapping[str, PairRates], path: Path) -> None:
    """Draws the true match rate against the false match rate, and precision against recall.

    A dot marks the rates at the threshold of each. The false match rate has a logarithmic axis,
    which starts at one false match.

    Args:
        found: Rates by the name of the images.
        path: Path of the picture; its suffix selects the format.
    """
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    roc, precisions = figure.subplots(1, 2)
    for name, each in found.items():
        false, true = 100 * each.curve.false_match, 100 * each.curve.true_match
        (line,) = roc.plot(false, true, label=name, drawstyle="steps-post")
        reached = each.counts.thresholds >= each.threshold
        same, different = each.counts.same[reached].sum(), each.counts.different[reached].sum()
        recalled = 100 * same / each.num_same
        roc.plot(100 * different / each.num_different, recalled, "o", color=line.get_color())
        precision, recall = precision_recall(each.counts)
        precisions.plot(100 * recall, 100 * precision, label=name, drawstyle="steps-post")
        if same + different:
            precise = 100 * same / (same + different)
            precisions.plot(recalled, precise, "o", color=line.get_color())
    lowest = 100 / max(each.num_different for each in found.values())
    roc.set_xscale("log")
    roc.set(xlim=(lowest, 100), ylim=(0, 101), ylabel="true match rate, %")
    roc.set(xlabel="false match rate, %", title="ROC over pairs")
    precisions.set(xlim=(0, 101), ylim=(0, 101), xlabel="recall, %", ylabel="precision, %")
    precisions.set(title="precision and recall over pairs")
    for axes in (roc, precisions):
        axes.grid(alpha=0.3)
    roc.legend(loc="upper left")
    save_picture(figure, path)
