"""Losses for metric learning. Each file has one, as a function and as a `keras.losses.Loss`."""

from pa_keras.losses._validation import check_batch
from pa_keras.losses.arcface import ArcFaceLoss, arcface
from pa_keras.losses.circle import CircleLoss, circle
from pa_keras.losses.contrastive import ContrastiveLoss, contrastive
from pa_keras.losses.cosface import CosFaceLoss, cosface
from pa_keras.losses.lifted_structure import LiftedStructureLoss, lifted_structure
from pa_keras.losses.multi_similarity import MultiSimilarityLoss, multi_similarity
from pa_keras.losses.n_pair import NPairLoss, n_pair
from pa_keras.losses.normalized_softmax import NormalizedSoftmaxLoss, normalized_softmax
from pa_keras.losses.proxy_anchor import ProxyAnchorLoss, proxy_anchor
from pa_keras.losses.proxy_nca import ProxyNCALoss, proxy_nca
from pa_keras.losses.references import References
from pa_keras.losses.smooth_ap import SmoothAPLoss, smooth_ap
from pa_keras.losses.soft_triple import SoftTripleLoss, soft_triple
from pa_keras.losses.sub_center_arcface import SubCenterArcFaceLoss, sub_center_arcface
from pa_keras.losses.sup_con import SupConLoss, sup_con
from pa_keras.losses.triplet import TripletLoss, triplet

__all__ = [
    "ArcFaceLoss",
    "CircleLoss",
    "ContrastiveLoss",
    "CosFaceLoss",
    "LiftedStructureLoss",
    "MultiSimilarityLoss",
    "NPairLoss",
    "NormalizedSoftmaxLoss",
    "ProxyAnchorLoss",
    "ProxyNCALoss",
    "References",
    "SmoothAPLoss",
    "SoftTripleLoss",
    "SubCenterArcFaceLoss",
    "SupConLoss",
    "TripletLoss",
    "arcface",
    "check_batch",
    "circle",
    "contrastive",
    "cosface",
    "lifted_structure",
    "multi_similarity",
    "n_pair",
    "normalized_softmax",
    "proxy_anchor",
    "proxy_nca",
    "smooth_ap",
    "soft_triple",
    "sub_center_arcface",
    "sup_con",
    "triplet",
]
