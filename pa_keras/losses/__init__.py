"""Losses for metric learning, one a file: a function of tensors and a `keras.losses.Loss`."""

from pa_keras.losses.proxy_anchor import ProxyAnchorLoss, proxy_anchor

__all__ = ["ProxyAnchorLoss", "proxy_anchor"]
