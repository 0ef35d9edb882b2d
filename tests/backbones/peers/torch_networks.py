"""Saves a PyTorch network with random weights, and its features before and after a step.

test_torch_networks.py runs it in a separate process, since the libraries of TensorFlow and PyTorch
can conflict.

    python torch_networks.py NAME FOLDER HEIGHTxWIDTH [HEIGHTxWIDTH ...]
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

MODES = ("train", "frozen", "frozen_statistics")

# torchvision's compiled operators load only beside the very build of PyTorch that they were made
# for, such as that with CUDA. Its networks need none, yet it will not be imported without these.
OPERATORS = torch.library.Library("torchvision", "FRAGMENT")
try:
    import torchvision
except RuntimeError:
    for operator in ("nms", "qnms"):
        OPERATORS.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision


def make_network(name):
    """The network, and the name of the module with the last features."""
    if name == "bn_inception":
        import pretrainedmodels

        network = pretrainedmodels.bninception(pretrained=None)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.9  # as in the Proxy-Anchor authors' code
        return network, None
    if name == "googlenet":
        return torchvision.models.googlenet(weights=None, init_weights=True), "inception5b"
    return getattr(torchvision.models, name.removeprefix("torch_"))(weights=None), "layer4"


def features_of(network, last, pixels):
    if last is None:
        return network.features(pixels)
    kept = []
    handle = network.get_submodule(last).register_forward_hook(lambda *args: kept.append(args[2]))
    network(pixels)
    handle.remove()
    return kept[0]


def scaled(name, images):
    """Scales RGB images (B, H, W, 3) in 0..255 to the input of the network, (B, 3, H, W)."""
    if name == "bn_inception":
        pixels = images[..., ::-1] - np.array([104, 117, 128])
    else:
        pixels = (images / 255 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    return torch.tensor(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)), dtype=torch.float32)


def randomize(network, last, pixels):
    """Sets statistics near those of the images, so that no layer dies, and different scales."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, std=0.2)
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    network.train()
    with torch.no_grad():
        features_of(network, last, pixels)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.running_mean += 0.1 * torch.randn_like(norm.running_mean)
        norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.7, 1.4)


def set_mode(network, mode):
    network.train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and mode != "train":
            module.eval()
            module.weight.requires_grad_(mode != "frozen")
            module.bias.requires_grad_(mode != "frozen")


def one_step(network, last, pixels, direction):
    """One step of gradient descent on <features, direction>; returns the learning rate.

    The rate is chosen so that no feature moves by more than 1 % of the largest: beyond that, a deep
    network amplifies the rounding errors of both sides.
    """
    before = features_of(network, last, pixels)
    (before * torch.tensor(direction.transpose(0, 3, 1, 2))).sum().backward()
    statistics = {name: tensor.clone() for name, tensor in network.named_buffers()}
    moved = [(p, p.detach().clone()) for p in network.parameters() if p.grad is not None]
    rate = 1e-3
    with torch.no_grad():
        while True:
            for parameter, start in moved:
                parameter.copy_(start - rate * parameter.grad)
            change = (features_of(network, last, pixels) - before).abs().max()
            if change < 0.01 * before.abs().max():
                break
            rate /= 2
        for name, tensor in network.named_buffers():
            tensor.copy_(statistics[name])
    return rate


def as_keras(features):
    return features.detach().numpy().transpose(0, 2, 3, 1)


def main(name, folder, *sizes):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    network, last = make_network(name)
    results = {}
    for index, size in enumerate(sizes):
        height, width = map(int, size.split("x"))
        images = rng.uniform(0, 255, (4, height, width, 3)).astype("float32")
        pixels = scaled(name, images)
        if index == 0:
            randomize(network, last, pixels)
            torch.save(network.state_dict(), folder / "start.pth")
        network.eval()
        with torch.no_grad():
            features = as_keras(features_of(network, last, pixels))
        results |= {f"images_{size}": images, f"features_{size}": features}
    direction = rng.normal(size=features.shape).astype("float32")
    results["direction"] = direction
    for mode in MODES:
        network.load_state_dict(torch.load(folder / "start.pth"))
        network.requires_grad_(True)
        network.zero_grad()
        set_mode(network, mode)
        results[f"rate_{mode}"] = one_step(network, last, pixels, direction)
        for name_, tensor in network.state_dict().items():
            results[f"{mode}:{name_}"] = tensor.numpy().copy()
        with torch.no_grad():
            results[f"after_{mode}"] = as_keras(features_of(network, last, pixels))
    np.savez(folder / "results.npz", **results)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
