"""The layer that holds the learned proxies, one or several for each class."""

import math
from typing import Any

import keras
from keras import ops

from pa_keras.arguments.integers import as_integer
from pa_keras.kernels import cosines
from pa_keras.kernels.tensors import Tensor


@keras.saving.register_keras_serializable("pa_keras")
class Proxies(keras.layers.Layer):
    """Cosines of embeddings to trainable proxies, one for each class.

        s(x, p) = l2(x) . l2(p),   l2(v) = v / sqrt(sum(v^2) + 1e-12)

    They are computed in float32 under every dtype policy. The weight `proxies` of shape
    (num_classes, embedding_size) is drawn from N(0, sqrt(2 / num_classes)). The length of a proxy
    does not change a cosine, but it sets how far one optimizer step turns the proxy.

    With `centers_per_class` K, the weight has shape (num_classes, K, embedding_size) and the
    cosines have shape (B, C, K), which `SoftTripleLoss` expects.

    Args:
        num_classes: C, at least 2.
        centers_per_class: K, at least 1. Default None: one proxy for each class, without that axis.
        regularizer: Regularizer of the proxies, such as `SoftTripleRegularizer`. Default None.
        seed: Seed of the initial proxies. Default None: a random seed.
        name: Name of the layer. Default "proxies".

    Call:
        Embeddings (B, D) of any floating dtype, which the layer normalizes, to cosines (B, C) or
        (B, C, K), float32.

    Raises:
        ValueError: If num_classes is below 2, centers_per_class is below 1, one of them is not an
            integer, or the embeddings do not have rank 2.

    Example:
        >>> cosines = Proxies(98)(keras.random.normal((4, 512)))
        >>> tuple(cosines.shape)
        (4, 98)

    Source: Kim et al., Proxy Anchor Loss for Deep Metric Learning, CVPR 2020, sections 3.2, 4.2.
    """

    def __init__(
        self,
        num_classes: int,
        centers_per_class: int | None = None,
        regularizer: keras.regularizers.Regularizer | None = None,
        seed: int | None = None,
        name: str = "proxies",
        **base_options: Any,
    ) -> None:
        # Half precision would round cosines by more than the margins between classes.
        super().__init__(name=name, autocast=False, **{**base_options, "dtype": "float32"})
        self.num_classes = as_integer("num_classes", num_classes, least=2)
        if centers_per_class is not None:
            centers_per_class = as_integer("centers_per_class", centers_per_class, least=1)
        self.centers_per_class = centers_per_class
        self.regularizer = keras.regularizers.get(regularizer)
        self.seed = None if seed is None else as_integer("seed", seed)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        if len(input_shape) != 2 or input_shape[-1] is None:
            raise ValueError(
                "Expected embeddings of shape (batch, embedding_size); received "
                f"{tuple(input_shape)}. Pool the features before Proxies."
            )
        self.proxies = self.add_weight(
            name="proxies",
            shape=(*self._places, input_shape[-1]),
            initializer=keras.initializers.RandomNormal(
                stddev=math.sqrt(2 / self.num_classes), seed=self.seed
            ),
            regularizer=self.regularizer,
        )

    def call(self, embeddings: Tensor) -> Tensor:
        proxies = ops.reshape(self.proxies, (-1, self.proxies.shape[-1]))
        flat = cosines(ops.cast(embeddings, "float32"), proxies)
        return ops.reshape(flat, (-1, *self._places))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], *self._places)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "centers_per_class": self.centers_per_class,
            "regularizer": keras.regularizers.serialize(self.regularizer),
            "seed": self.seed,
        }

    @property
    def _places(self) -> tuple[int, ...]:
        """The axes of the weight before the last: (C,) or (C, K)."""
        if self.centers_per_class is None:
            return (self.num_classes,)
        return (self.num_classes, self.centers_per_class)
