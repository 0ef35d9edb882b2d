"""Sub-center ArcFace loss (Deng et al., ECCV 2020)."""

import keras
from keras import ops

from pa_keras.kernels.tensors import Tensor, TensorLike
from pa_keras.losses._validation import check_centers
from pa_keras.losses.arcface import ArcFaceLoss, arcface


def sub_center_arcface(
    labels: TensorLike, similarities: TensorLike, margin: float = 0.5, scale: float = 64.0
) -> Tensor:
    r"""Sub-center ArcFace loss: one term for each embedding, whose mean is the loss.

        l_i = the ArcFace loss of theta_ij = arccos(max_k cos(x_i, w_jk))

    Each class j has K centers w_j1 .. w_jK, of which an embedding has to be near any one. Wrong
    labels and unusual images gather at a second center, so that they do not spoil the first.
    `arcface` gives the rest of the formula.

    Args:
        labels: Class IDs in [0, C), integers of shape (B,) or (B, 1), or one-hot of shape (B, C).
        similarities: Cosines (B, C, K), floating, C >= 2; the output of
            `pa_keras.layers.Proxies(C, centers_per_class=K)`. The paper uses K = 3.
        margin: m, an angle in radians, in [0, pi). Default 0.5.
        scale: s, > 0. Default 64.

    Returns:
        float32 (B,). All NaN if a cosine is not finite or if, under XLA, which cannot raise an
        error, a label is bad.

    Raises:
        ValueError: If a rank, a width, a dtype or a setting is wrong, or, in eager mode, if a label
            is out of range.
        tf.errors.InvalidArgumentError: If a label is out of range, in graph mode.

    Example:
        >>> s = [[[1.0, 0.9], [0.0, 0.1]], [[0.0, 0.1], [0.3, 1.0]]]
        >>> tuple(sub_center_arcface([0, 1], s).shape)
        (2,)

    Source: Deng et al., Sub-center ArcFace: Boosting Face Recognition by Large-scale Noisy Web
    Faces, ECCV 2020, section 3.2. Sampling: random batches.
    """
    similarities, finite = check_centers(similarities)
    terms = arcface(labels, ops.max(similarities, axis=2), margin, scale)
    # The maximum can hide a center whose cosine is not finite.
    return ops.where(finite, terms, float("nan"))


@keras.saving.register_keras_serializable("pa_keras")
class SubCenterArcFaceLoss(ArcFaceLoss):
    """Sub-center ArcFace loss of class IDs and cosines; `sub_center_arcface` gives the formula.

    The model must end with `pa_keras.layers.Proxies(num_classes, centers_per_class=3)`, or with
    another number of centers. Use random batches.

    Args:
        margin: m, an angle in radians, in [0, pi). Default 0.5.
        scale: s, > 0. Default 64.
        reduction: Reduction of the terms, as in Keras. Default "sum_over_batch_size", their mean.
        name: Name of the loss.

    Raises:
        ValueError: As for `sub_center_arcface`.

    Example:
        >>> loss = SubCenterArcFaceLoss(margin=0.0, scale=1.0)
        >>> round(float(loss([0, 1], [[[1.0, 0.2], [0.0, 0.0]], [[0.0, 0.0], [0.1, 1.0]]])), 4)
        0.3133

    Source: Deng et al., ECCV 2020, section 3.2.
    """

    def __init__(
        self,
        margin: float = 0.5,
        scale: float = 64.0,
        reduction: str | None = "sum_over_batch_size",
        name: str = "sub_center_arcface",
    ) -> None:
        super().__init__(margin, scale, reduction, name)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        return sub_center_arcface(y_true, y_pred, self.margin, self.scale)
