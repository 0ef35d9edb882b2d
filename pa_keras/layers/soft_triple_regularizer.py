"""The regularizer of SoftTriple, which merges superfluous centers of a class."""

from typing import Any

import keras
from keras import ops

from pa_keras.kernels.tensors import Tensor


@keras.saving.register_keras_serializable("pa_keras")
class SoftTripleRegularizer(keras.regularizers.Regularizer):
    """Pulls the centers of each class together, so that superfluous ones merge.

        R(w) = tau / (C K (K - 1)) sum_c sum_{s < t} sqrt(2 - 2 w_cs . w_ct)

    The centers w are normalized to unit length. As in the authors' code, 1e-5 is added under the
    root, so that centers that have merged still have a gradient.

    Args:
        strength: tau, at least 0. Default 0.2, as in the paper.

    Call:
        Proxies (C, K, D) of `Proxies(C, centers_per_class=K)` to a scalar, which is 0 if K is 1.

    Raises:
        ValueError: If the strength is negative, or the proxies do not have rank 3.

    Example:
        >>> centers = ops.convert_to_tensor([[[1.0, 0.0], [0.0, 1.0]]] * 2)
        >>> round(float(SoftTripleRegularizer(1.0)(centers)), 4)
        0.7071

    Source: Qian et al., SoftTriple Loss: Deep Metric Learning Without Triplet Sampling, ICCV 2019,
    eq. (10) and (11).
    """

    def __init__(self, strength: float = 0.2) -> None:
        if not strength >= 0:
            raise ValueError(f"Expected strength of 0 or more; received {strength}.")
        self.strength = strength

    def __call__(self, proxies: Tensor) -> Tensor:
        if len(proxies.shape) != 3:
            raise ValueError(
                "Expected proxies of shape (num_classes, centers_per_class, embedding_size); "
                f"received {tuple(proxies.shape)}. Give Proxies its centers_per_class."
            )
        num_classes, centers, _ = proxies.shape
        if centers == 1:
            return ops.zeros(())
        directions = ops.normalize(proxies, axis=-1)
        cosines = ops.einsum("ckd,cjd->ckj", directions, directions)
        # Rounding can give a cosine above 1, and the root of a negative number is NaN.
        apart = ops.sqrt(ops.maximum(2.0 + 1e-5 - 2.0 * cosines, 1e-12))
        pairs = ops.triu(ops.ones((centers, centers)), k=1)
        return self.strength * ops.sum(apart * pairs) / (num_classes * centers * (centers - 1))

    def get_config(self) -> dict[str, Any]:
        return {"strength": self.strength}
