"""Training images a second of a network in PyTorch with PyTorch Metric Learning's ProxyAnchorLoss.

    python torch_step.py NETWORK SIZE BATCH_SIZE CLASSES STEPS

On one batch in memory: channels_last, batch norm frozen, gradients clipped and AdamW, as ours.
"""

import sys
import time

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


def main(network: str, size: int, batch_size: int, classes: int, steps: int) -> None:
    model = Embedder(network).to(memory_format=torch.channels_last).train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval().requires_grad_(False)
    loss = losses.ProxyAnchorLoss(classes, 512, 0.1, 32)
    images = torch.rand(batch_size, 3, size, size).to(memory_format=torch.channels_last)
    labels = torch.arange(batch_size) % classes
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(
        [{"params": weights, "lr": 1e-4}, {"params": loss.parameters(), "lr": 1e-2}],
        weight_decay=1e-4,
    )

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        value = loss(model(images), labels)
        value.backward()
        nn.utils.clip_grad_value_([*weights, *loss.parameters()], 10.0)
        optimizer.step()
        value.item()

    step()
    print("ready", flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        for _ in range(steps):
            step()
        print(steps * batch_size / (time.perf_counter() - started), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
