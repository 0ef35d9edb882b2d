"""Trains EfficientNet-Lite0 on images in PyTorch and measures Recall@1 after each epoch.

    python torch_training.py SETTINGS.json RESULTS.jsonl

It is what a careful user of PyTorch Metric Learning would write: timm's network with the same
ImageNet weights, channels_last, torchvision's loader with two workers, `ProxyAnchorLoss`, fused
AdamW. Each line of the results has the epoch, the seconds of its steps, and, if there are several
epochs, Recall@1 of the test images.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from pytorch_metric_learning import losses
from torch import nn
from torchvision_without_operators import torchvision

import timm  # isort: skip

transforms = torchvision.transforms


class Embedder(nn.Module):
    """Backbone, average + max pooling, a linear layer, unit length."""

    def __init__(self, weights: str, embedding_size: int) -> None:
        super().__init__()
        # The weights were trained with TensorFlow's padding, which is that of the "tf_" network.
        self.backbone = timm.create_model("tf_efficientnet_lite0", num_classes=0, global_pool="")
        load_in_order(self.backbone, weights)
        self.embedding = nn.Linear(self.backbone.num_features, embedding_size)
        nn.init.normal_(self.embedding.weight, std=(2 / embedding_size) ** 0.5)
        nn.init.zeros_(self.embedding.bias)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.backbone(images)
        pooled = features.mean((2, 3)) + features.amax((2, 3))
        return nn.functional.normalize(self.embedding(pooled))

    def train(self, mode: bool = True) -> "Embedder":
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval().requires_grad_(False)
        return self


class Images(torch.utils.data.Dataset):
    """Images with labels, each read and transformed when a worker asks for it."""

    def __init__(self, paths: list[str], labels: list[int], transform) -> None:
        self.paths, self.labels, self.transform = paths, labels, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = torchvision.datasets.folder.pil_loader(self.paths[index])
        return self.transform(image), self.labels[index]


def load_in_order(backbone: nn.Module, file: str) -> None:
    """Loads TensorFlow's weights, whose names differ but whose order is that of the network."""
    with np.load(file) as arrays:
        given = [in_torch_order(name, arrays[name]) for name in arrays.files]
    own = {k: v for k, v in backbone.state_dict().items() if "num_batches" not in k}
    given = given[: len(own)]  # without the classifier
    for (name, old), new in zip(own.items(), given, strict=True):
        if tuple(old.shape) != new.shape:
            raise ValueError(f"Expected {name} of shape {tuple(old.shape)}; received {new.shape}.")
        old.copy_(torch.from_numpy(new))


def in_torch_order(name: str, weights: np.ndarray) -> np.ndarray:
    """A kernel (height, width, inputs, outputs) in PyTorch's order of axes."""
    if weights.ndim != 4:
        return weights
    return weights.transpose((2, 3, 0, 1) if "depthwise" in name else (3, 2, 0, 1))


def loader(part: dict, pixels: int, batch_size: int, train: bool) -> torch.utils.data.DataLoader:
    """Batches as torchvision's users make them."""
    scale = transforms.Normalize([127 / 255] * 3, [128 / 255] * 3)
    crop = (
        [transforms.RandomResizedCrop(pixels, (0.2, 1.0)), transforms.RandomHorizontalFlip()]
        if train
        else [transforms.Resize((pixels, pixels))]
    )
    transform = transforms.Compose([*crop, transforms.ToTensor(), scale])
    return torch.utils.data.DataLoader(
        Images(part["paths"], part["labels"], transform),
        batch_size,
        shuffle=train,
        num_workers=2,
        persistent_workers=train,
        drop_last=train,
    )


@torch.inference_mode()
def recall_at_1(model: Embedder, batches: torch.utils.data.DataLoader) -> float:
    """The share of images whose nearest other image has their label."""
    model.eval()
    found = [(model(channels_last(images)), labels) for images, labels in batches]
    embeddings, labels = (torch.cat(each) for each in zip(*found, strict=True))
    cosines = embeddings @ embeddings.T
    cosines.fill_diagonal_(-2)
    return (labels[cosines.argmax(1)] == labels).float().mean().item()


def channels_last(images: torch.Tensor) -> torch.Tensor:
    return images.to(memory_format=torch.channels_last)


def main() -> None:
    settings = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(settings["seed"])
    pixels, batch_size = settings["pixels"], settings["batch_size"]
    train = loader(settings["train"], pixels, batch_size, train=True)
    test = loader(settings["test"], pixels, 256, train=False)
    model = Embedder(settings["weights"], 512).to(memory_format=torch.channels_last)
    classes = 1 + max(settings["train"]["labels"])
    loss = losses.ProxyAnchorLoss(classes, 512, margin=0.1, alpha=32)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(
        [
            {"params": model.train().parameters(), "lr": settings["rate"]},
            {"params": loss.parameters(), "lr": 100 * settings["rate"]},
        ],
        weight_decay=1e-4,
        fused=True,
    )
    with Path(sys.argv[2]).open("w") as results:
        for epoch in range(1, settings["epochs"] + 1):
            model.train()
            started = time.perf_counter()
            for images, labels in train:
                optimizer.zero_grad(set_to_none=True)
                loss(model(channels_last(images)), labels).backward()
                nn.utils.clip_grad_value_([*weights, *loss.parameters()], 10.0)
                optimizer.step()
            seconds = time.perf_counter() - started
            row = {"epoch": epoch, "seconds": seconds, "recall_at_1": None}
            if settings["epochs"] > 1:  # a single epoch is only timed
                row["recall_at_1"] = recall_at_1(model, test)
            results.write(json.dumps(row) + "\n")
            results.flush()


if __name__ == "__main__":
    main()
