"""Losses for metric learning. Each file has one, as a function and as a `keras.losses.Loss`."""

from pa_keras.losses.arcface import ArcFaceLoss, arcface
from pa_keras.losses.contrastive import ContrastiveLoss, contrastive
from pa_keras.losses.cosface import CosFaceLoss, cosface
from pa_keras.losses.lifted_structure import LiftedStructureLoss, lifted_structure
from pa_keras.losses.multi_similarity import MultiSimilarityLoss, multi_similarity
from pa_keras.losses.n_pair import NPairLoss, n_pair
from pa_keras.losses.normalized_softmax import NormalizedSoftmaxLoss, normalized_softmax
from pa_keras.losses.proxy_anchor import ProxyAnchorLoss, proxy_anchor
from pa_keras.losses.proxy_nca import ProxyNCALoss, proxy_nca
from pa_keras.losses.soft_triple import SoftTripleLoss, soft_triple
from pa_keras.losses.triplet import TripletLoss, triplet

__all__ = [
    "ArcFaceLoss",
    "ContrastiveLoss",
    "CosFaceLoss",
    "LiftedStructureLoss",
    "MultiSimilarityLoss",
    "NPairLoss",
    "NormalizedSoftmaxLoss",
    "ProxyAnchorLoss",
    "ProxyNCALoss",
    "SoftTripleLoss",
    "TripletLoss",
    "arcface",
    "contrastive",
    "cosface",
    "lifted_structure",
    "multi_similarity",
    "n_pair",
    "normalized_softmax",
    "proxy_anchor",
    "proxy_nca",
    "soft_triple",
    "triplet",
]
