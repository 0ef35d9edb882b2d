"""A training step in PyTorch: timm's network, PyTorch Metric Learning's loss, AdamW."""

from collections.abc import Callable

import torch
from pytorch_metric_learning import losses
from torch import nn
from torchvision_without_operators import torchvision  # noqa: F401  timm imports it

import timm  # isort: skip


class Embedder(nn.Module):
    """Backbone, average + max pooling, a linear layer, unit length."""

    def __init__(self, network: str) -> None:
        super().__init__()
        self.backbone = timm.create_model(network, num_classes=0, global_pool="")
        self.embedding = nn.Linear(self.backbone.num_features, 512)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.backbone(images)
        pooled = features.mean((2, 3)) + features.amax((2, 3))
        return nn.functional.normalize(self.embedding(pooled))


def step(
    network: str, pixels: int, batch_size: int, classes: int, channels_last: bool, compiled: bool
) -> Callable[[], float]:
    """Makes the call that trains on one batch in memory, with frozen batch normalization."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = Embedder(network).to(memory_format=layout).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval().requires_grad_(False)
    loss = losses.ProxyAnchorLoss(classes, 512, 0.1, 32)
    images = torch.rand(batch_size, 3, pixels, pixels).to(memory_format=layout)
    labels = torch.arange(batch_size) % classes
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(
        [{"params": weights, "lr": 1e-4}, {"params": loss.parameters(), "lr": 1e-2}],
        weight_decay=1e-4,
        fused=True,
    )
    forward = torch.compile(model) if compiled else model

    def call() -> float:
        optimizer.zero_grad(set_to_none=True)
        value = loss(forward(images), labels)
        value.backward()
        nn.utils.clip_grad_value_([*weights, *loss.parameters()], 10.0)
        optimizer.step()
        return value.item()

    return call
