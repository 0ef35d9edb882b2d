"""Layers that training needs on top of an embedding model."""

from pa_keras.layers.proxies import Proxies

__all__ = ["Proxies"]
