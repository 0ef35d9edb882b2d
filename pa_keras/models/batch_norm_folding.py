"""Batch normalization folding: the same function with fewer passes over the features."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import Layer, layers, ops

from pa_keras.compat import log_fallback
from pa_keras.models.small_maps import room_for_kernel

try:
    from keras.src.models import functional
except ImportError:
    functional = None

_OF_A_MODEL = ("_run_through_graph", "_standardize_inputs", "_nodes_by_depth")
Merged = Sequence[tf.Tensor | tf.Variable]  # kernel and bias


def folded(model: keras.Model) -> Callable:
    """The model as a function, with batch norms in inference mode folded into convolutions.

        gamma (W * x + b - m) / sqrt(v + eps) + beta = (s W) * x + s (b - m) + beta,
        s = gamma / sqrt(v + eps)

    On a CPU, TensorFlow needs two more passes over the features for a batch norm, and one for the
    ReLU after it; a convolution, its bias and the ReLU are one operation. The gradients are those
    of the model. A batch norm that trains is called unchanged.

    A batch norm is folded only if it is the only consumer of a Conv2D or DepthwiseConv2D without
    activation. It is not folded in half precision, with channels first, or inside a Sequential, a
    layer, or a model that overrides `call`.

    Args:
        model: Built model. It is not changed, and its weights are read at each call.

    Returns:
        A function of (images, training=False) to the outputs of the model, up to rounding.

    Example:
        >>> from pa_keras import embedding_model
        >>> model = embedding_model("conv4", 64, (32, 32), weights=None)
        >>> folded(model)(tf.zeros((2, 32, 32, 3))).shape.as_list()
        [2, 64]
    """
    return _function(model, _norms(model), _merged)


def folded_for_good(model: keras.Model) -> Callable:
    """Like `folded`, but only for inference: the folded weights are computed once, here.

    Args:
        model: Built model. Later changes of the weights that are folded have no effect.

    Returns:
        A function of images to the outputs.

    Example:
        >>> from pa_keras import embedding_model
        >>> model = embedding_model("conv4", 64, (32, 32), weights=None)
        >>> folded_for_good(model)(tf.zeros((2, 32, 32, 3))).shape.as_list()
        [2, 64]
    """
    norms = _norms(model)
    products = {}
    for convolution, norm in norms.items():
        merged = _merged(convolution, norm)
        products[convolution] = [tf.Variable(each, trainable=False) for each in merged]
    return _function(model, norms, lambda convolution, norm: products[convolution])


def _function(
    model: keras.Model, norms: dict[Layer, Layer], merged: Callable[[Layer, Layer], Merged]
) -> Callable:
    folded_norms = set(norms.values())

    def run(part: keras.Model, inputs: tf.Tensor, training: bool | None) -> tf.Tensor:
        def called(layer: keras.Operation) -> Callable:
            norm = norms.get(layer)
            if norm is not None and not (training and norm.trainable):
                return lambda x, **_: _convolved(layer, x, merged(layer, norm), training)
            if layer in folded_norms and not (training and layer.trainable):
                return lambda x, **_: x
            if _is_functional(layer):
                # As in Keras, the argument of this call overrides the recorded one.
                return lambda x, **options: run(
                    layer, x, options.get("training") if training is None else training
                )
            return functional.operation_fn(layer, training=training)

        with tf.name_scope(part.name):
            outputs = part._run_through_graph(part._standardize_inputs(inputs), called)
        return outputs[0] if isinstance(outputs, list) and len(outputs) == 1 else outputs

    @tf.autograph.experimental.do_not_convert  # as Keras does where it calls models
    def call(images: tf.Tensor, training: bool | None = False) -> tf.Tensor:
        if norms:
            return run(model, images, training)
        return model(images, training=training)

    return call


def _merged(convolution: Layer, norm: Layer) -> Merged:
    kernel = ops.convert_to_tensor(convolution.kernel)
    scale = ops.rsqrt(norm.moving_variance + norm.epsilon)
    scale = scale * norm.gamma if norm.scale else scale
    bias = (convolution.bias if convolution.use_bias else 0) - norm.moving_mean
    bias = bias * scale + norm.beta if norm.center else bias * scale
    # The channels are the last axis of a kernel, or the last two axes of a depthwise kernel.
    axes = 2 if isinstance(convolution, layers.DepthwiseConv2D) else 1
    return kernel * ops.reshape(scale, kernel.shape[-axes:]), bias


def _convolved(layer: Layer, inputs: tf.Tensor, merged: Merged, training: bool | None) -> tf.Tensor:
    kernel, bias = merged
    is_depthwise = isinstance(layer, layers.DepthwiseConv2D)
    convolve = ops.depthwise_conv if is_depthwise else ops.conv
    with tf.name_scope(layer.name):
        inputs = tf.cast(inputs, layer.compute_dtype)
        rows, columns = room_for_kernel(layer, inputs) if training else (0, 0)
        if rows or columns:
            inputs = tf.pad(inputs, [[0, 0], [0, rows], [0, columns], [0, 0]])
        features = convolve(
            inputs,
            kernel,
            strides=layer.strides,
            padding=layer.padding,
            data_format=layer.data_format,
            dilation_rate=layer.dilation_rate,
        )
        if rows or columns:
            features = features[:, : features.shape[1] - rows, : features.shape[2] - columns]
        return tf.nn.bias_add(features, bias)


def _norms(model: keras.Model) -> dict[Layer, Layer]:
    """Maps each convolution that can be folded to its batch norm."""
    if model.compute_dtype != "float32" or not _has_graph(model):
        return {}
    calls: Counter[Layer] = Counter()
    takers: dict[Layer, list[Layer]] = defaultdict(list)
    plain: set[Layer] = set()
    for part in _functional_parts(model):
        for node in itertools.chain(*part._nodes_by_depth.values()):
            calls[node.operation] += 1
            options = {key for key, value in node.arguments.kwargs.items() if value is not None}
            alone = len(node.arguments.args) == 1
            if _is_functional(node.operation) and not (alone and options <= {"training"}):
                return {}  # for example a mask
            if alone and not options:
                plain.add(node.operation)
            for tensor in node.input_tensors:
                takers[tensor._keras_history.operation].append(node.operation)
        for tensor in part.outputs:
            takers[tensor._keras_history.operation].append(part)
    return {
        layer: taker
        for layer, [taker, *others] in takers.items()
        if not others
        and calls[layer] == calls[taker] == 1
        and {layer, taker} <= plain
        and _is_convolution(layer)
        and _is_norm_of_channels(taker)
    }


def _has_graph(model: keras.Model) -> bool:
    """Whether the model has a graph, and Keras still has the private names to run it."""
    needed = [(functional, "Functional"), (functional, "operation_fn")]
    if _is_functional(model):
        needed += [(model, name) for name in _OF_A_MODEL]
        needed += [(tensor, "_keras_history") for tensor in model.outputs]
    missing = [name for owner, name in needed if not hasattr(owner, name)]
    if missing:
        log_fallback(
            f"keras.src.models.functional with {', '.join(dict.fromkeys(missing))}",
            "Batch normalization is not folded into convolutions: results are the same, but "
            "slower on a CPU.",
        )
    return not missing and _is_functional(model)


def _functional_parts(model: keras.Model) -> list[keras.Model]:
    """The model and its nested models that are purely functional, each once."""
    if not _is_functional(model):
        return []
    within = (part for layer in model.layers for part in _functional_parts(layer))
    return list(dict.fromkeys([model, *within]))


def _is_functional(layer: keras.Operation) -> bool:
    kind: Any = getattr(functional, "Functional", ())
    return isinstance(layer, kind) and type(layer).call is kind.call


def _is_convolution(layer: keras.Operation) -> bool:
    # A subclass may do more in its call.
    return (
        type(layer) in (layers.Conv2D, layers.DepthwiseConv2D)
        and layer.activation is keras.activations.linear
        and layer.data_format == "channels_last"
        and _is_simple(layer)
    )


def _is_norm_of_channels(layer: keras.Operation) -> bool:
    return type(layer) is layers.BatchNormalization and layer.axis in (-1, 3) and _is_simple(layer)


def _is_simple(layer: Layer) -> bool:
    return layer.compute_dtype == "float32" and layer.activity_regularizer is None
