"""Images a second of torchvision's loader: python torch_loader.py FOLDER SIZE BATCH_SIZE."""

import sys
import time
from pathlib import Path

import torch
from torchvision_without_operators import torchvision

transforms = torchvision.transforms


class Photographs(torch.utils.data.Dataset):
    """As torchvision's ImageFolder reads and augments them."""

    def __init__(self, folder: str, size: int) -> None:
        self.paths = sorted(Path(folder).glob("*.jpg"))
        self.transform = transforms.Compose(
            [
                transforms.RandomResizedCrop(size),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
            ]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(torchvision.datasets.folder.pil_loader(self.paths[index])), 0


def main(folder: str, size: str, batch_size: str) -> None:
    loader = torch.utils.data.DataLoader(
        Photographs(folder, int(size)),
        int(batch_size),
        shuffle=True,
        num_workers=2,
        persistent_workers=True,
        drop_last=True,
    )
    print("ready", flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        images = sum(len(batch) for batch, _ in loader)
        print(images / (time.perf_counter() - started), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
