"""Batches from torchvision's loader, read and augmented as in its ImageFolder."""

from collections.abc import Callable
from pathlib import Path

import torch
from torchvision_without_operators import torchvision

transforms = torchvision.transforms


class Photographs(torch.utils.data.Dataset):
    def __init__(self, folder: str, pixels: int) -> None:
        self.paths = sorted(Path(folder).glob("*.jpg"))
        self.transform = transforms.Compose(
            [
                transforms.RandomResizedCrop(pixels),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(torchvision.datasets.folder.pil_loader(self.paths[index])), 0


def epoch(folder: str, pixels: int, batch_size: int) -> Callable[[], int]:
    """Makes the call that loads all photographs once."""
    loader = torch.utils.data.DataLoader(
        Photographs(folder, pixels),
        batch_size,
        shuffle=True,
        num_workers=2,
        persistent_workers=True,
        drop_last=True,
    )
    return lambda: sum(len(images) for images, _ in loader)
