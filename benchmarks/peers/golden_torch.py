"""Values and gradients of PyTorch Metric Learning's losses: python golden_torch.py OUT.json."""

import json
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from pytorch_metric_learning import distances, losses, miners, regularizers

BATCH, SIZE, CLASSES, CENTERS = 16, 8, 6, 3


def inputs() -> dict[str, np.ndarray]:
    """Makes overlapping clusters, not of unit length; one class is not in the batch."""
    rng = np.random.default_rng(0)
    proxies = rng.normal(size=(CLASSES, SIZE))
    labels = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 0, 1, 2, 3, 4, 0])
    embeddings = 0.7 * proxies[labels] + rng.normal(size=(BATCH, SIZE))
    apart = rng.normal(size=(CLASSES, CENTERS, SIZE))
    return {
        "labels": labels,
        # Smooth-AP needs as many classes as images of each, in order of the classes.
        "blocks": np.repeat(np.arange(4), 4),
        "embeddings": embeddings,
        "proxies": proxies,
        "centers": proxies[:, None] + 0.5 * apart,
    }


def measured(
    loss, given: dict, weight: str | None, *, miner=None, of_centers: bool = False
) -> dict:
    """Returns the loss and its gradients for the embeddings and, if it has them, the proxies."""
    embeddings = torch.tensor(given["embeddings"], dtype=torch.float64, requires_grad=True)
    labels = torch.tensor(given["labels"])
    parameter = None
    if weight is not None:
        parameter = getattr(loss, weight)
        proxies = given["centers"].reshape(-1, SIZE) if of_centers else given["proxies"]
        parameter.data = torch.tensor(proxies.T if weight != "proxies" else proxies)
    pairs = miner(embeddings, labels) if miner else None
    value = loss(embeddings, labels, pairs)
    value.backward()
    found = {"value": value.item(), "embeddings": embeddings.grad.tolist()}
    if parameter is not None:
        gradient = parameter.grad if weight == "proxies" else parameter.grad.T
        found["proxies"] = gradient.tolist()
    return found


def of_memory(loss, given: dict) -> dict:
    """Returns the loss of the last four rows with a memory of 10, and its gradient."""
    memory = losses.CrossBatchMemory(loss, SIZE, memory_size=10)
    rows, labels = torch.tensor(given["embeddings"]), torch.tensor(given["labels"])
    for start in (0, 6):
        memory(rows[start : start + 6], labels[start : start + 6])
    batch = rows[12:].clone().requires_grad_(True)
    value = memory(batch, labels[12:])
    value.backward()
    return {"value": value.item(), "embeddings": batch.grad.tolist()}


def main(path: str) -> None:
    given = inputs()
    sizes = (CLASSES, SIZE)
    plain = distances.DotProductSimilarity(normalize_embeddings=False)
    found = {
        "contrastive": measured(losses.ContrastiveLoss(0, 0.5), given, None),
        "contrastive, margins": measured(losses.ContrastiveLoss(0.2, 1.2), given, None),
        "triplet, all": measured(losses.TripletMarginLoss(0.3), given, None),
        "triplet, semi_hard": measured(
            losses.TripletMarginLoss(0.3), given, None,
            miner=miners.TripletMarginMiner(0.3, type_of_triplets="semihard"),
        ),
        "n_pair": measured(losses.NPairsLoss(distance=plain), given, None),
        "lifted_structure": measured(losses.LiftedStructureLoss(1, 0), given, None),
        "multi_similarity": measured(losses.MultiSimilarityLoss(2, 50, 0.5), given, None),
        "multi_similarity, mined": measured(
            losses.MultiSimilarityLoss(2, 50, 0.5), given, None,
            miner=miners.MultiSimilarityMiner(0.1),
        ),
        "sup_con": measured(losses.SupConLoss(0.1), given, None),
        "circle": measured(losses.CircleLoss(0.4, 8), given, None),
        "memory, contrastive": of_memory(losses.ContrastiveLoss(0, 1.2), given),
        "memory, multi_similarity": of_memory(losses.MultiSimilarityLoss(2, 50, 0.5), given),
        "memory, sup_con": of_memory(losses.SupConLoss(0.1), given),
        "memory, circle": of_memory(losses.CircleLoss(0.4, 8), given),
        "smooth_ap": measured(
            losses.SmoothAPLoss(0.1), {**given, "labels": given["blocks"]}, None
        ),
        "sub_center_arcface": measured(
            losses.SubCenterArcFaceLoss(
                num_classes=CLASSES, embedding_size=SIZE, margin=28.6, scale=16,
                sub_centers=CENTERS,
            ),
            given, "W", of_centers=True,
        ),
        "proxy_nca, target": measured(
            losses.ProxyNCALoss(*sizes, softmax_scale=3), given, "proxies"
        ),
        "proxy_anchor": measured(losses.ProxyAnchorLoss(*sizes, 0.1, 32), given, "proxies"),
        "normalized_softmax": measured(
            losses.NormalizedSoftmaxLoss(*sizes, temperature=0.05), given, "W"
        ),
        "cosface": measured(losses.CosFaceLoss(*sizes, margin=0.35, scale=16), given, "W"),
        "soft_triple": measured(
            losses.SoftTripleLoss(
                *sizes, centers_per_class=CENTERS, la=20, gamma=0.1, margin=0.01,
                weight_regularizer=regularizers.SparseCentersRegularizer(CLASSES, CENTERS),
                weight_reg_weight=0.2,
            ), given, "fc", of_centers=True,
        ),
        "arcface": measured(losses.ArcFaceLoss(*sizes, margin=28.6, scale=16), given, "W"),
    }  # fmt: skip
    content = {
        "source": f"PyTorch Metric Learning {metadata.version('pytorch-metric-learning')}, "
        f"torch {torch.__version__}, float64",
        "inputs": {name: values.tolist() for name, values in given.items()},
        "losses": found,
    }
    Path(path).write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    torch.set_default_dtype(torch.float64)
    main(sys.argv[1])
