"""Batch norm made part of the convolution before it: the same function in fewer passes."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator

import keras
from keras import KerasTensor, Layer, layers, ops


class FoldedConvolution(Layer):
    """A convolution and the batch norm behind it, at rest, as one convolution.

        gamma (W * x + b - m) / sqrt(v + eps) + beta = (s W) * x + s (b - m) + beta,
        s = gamma / sqrt(v + eps)

    Gradients are those of the two layers. While the batch norm trains, the layers are called.

    Args:
        convolution: built Conv2D or DepthwiseConv2D, without activation, channels last.
        norm: its BatchNormalization, built, of the last axis.
    """

    def __init__(self, convolution: Layer, norm: Layer) -> None:
        # No autocast: s would lose its digits before it is multiplied.
        super().__init__(name=convolution.name, dtype=convolution.dtype_policy, autocast=False)
        self.convolution = convolution
        self.norm = norm
        self.built = True

    def call(self, inputs: KerasTensor, training: bool | None = None) -> KerasTensor:
        if training and self.norm.trainable:
            return self.norm(self.convolution(inputs), training=True)
        kernel, bias = (ops.cast(each, self.compute_dtype) for each in self.merged())
        inputs = ops.cast(inputs, self.compute_dtype)
        return ops.add(self._convolved(inputs, kernel), bias)

    def merged(self) -> tuple[KerasTensor, KerasTensor]:
        """Kernel s W, and bias."""
        kernel, norm = ops.convert_to_tensor(self.convolution.kernel), self.norm
        scale = ops.rsqrt(norm.moving_variance + norm.epsilon)
        scale = scale * norm.gamma if norm.scale else scale
        bias = -norm.moving_mean
        bias = bias + self.convolution.bias if self.convolution.use_bias else bias
        bias = bias * scale + norm.beta if norm.center else bias * scale
        # The channels are the last axis of a kernel, and the last two of a depthwise one.
        channels = kernel.shape[2:] if self._is_depthwise else kernel.shape[3:]
        return kernel * ops.reshape(scale, channels), bias

    def _convolved(self, inputs: KerasTensor, kernel: KerasTensor) -> KerasTensor:
        convolution = self.convolution
        operation = ops.depthwise_conv if self._is_depthwise else ops.conv
        return operation(
            inputs,
            kernel,
            strides=convolution.strides,
            padding=convolution.padding,
            data_format=convolution.data_format,
            dilation_rate=convolution.dilation_rate,
        )

    @property
    def _is_depthwise(self) -> bool:
        return isinstance(self.convolution, layers.DepthwiseConv2D)


def folded(model: keras.Model) -> keras.Model:
    """The same function of the same weights, batch norms folded into the convolutions before them.

    On a CPU, TensorFlow passes over the features twice more for a batch norm, and once for the ReLU
    behind it; a convolution, its bias and the ReLU are one operation.

    A batch norm stays where it follows anything but a Conv2D or DepthwiseConv2D without activation,
    whose output it alone takes.

    Args:
        model: built; if it is functional, it and the functional models within it are folded.

    Returns:
        A functional model to call, in training too, whose layers share the weights of `model`, and
        whose outputs differ by rounding; `model` itself where there is nothing to fold. Models are
        saved and loaded by the original.

    Example:
        >>> from pa_keras import embedding_model
        >>> model = embedding_model("conv4", 64, (32, 32), weights=None)
        >>> [layer.name for layer in folded(model).get_layer("backbone").layers][2:5]
        ['conv1', 'relu1', 'pool1']
    """
    return _replaced(model, FoldedConvolution)


def folded_copy(model: keras.Model) -> keras.Model:
    """A model for inference, as `folded`, whose convolutions hold the products of the weights.

    They are copies of the weights as they are now; the other layers, and their weights, are shared.

    Args:
        model: as of `folded`.

    Returns:
        A functional model, of stock layers if those of `model` are; `model` itself where there is
        nothing to fold.

    Example:
        >>> from pa_keras import embedding_model
        >>> model = embedding_model("conv4", 64, (32, 32), weights=None)
        >>> type(folded_copy(model).get_layer("backbone").get_layer("conv1")).__name__
        'Conv2D'
    """
    copies = []

    def copied(convolution: Layer, norm: Layer) -> Layer:
        copy = type(convolution).from_config({**convolution.get_config(), "use_bias": True})
        copies.append((copy, FoldedConvolution(convolution, norm)))
        return copy

    result = _replaced(model, copied)
    for copy, both in copies:
        kernel, bias = both.merged()
        copy.kernel.assign(kernel)
        copy.bias.assign(bias)
    return result


def _replaced(model: keras.Model, replacement: Callable[[Layer, Layer], Layer]) -> keras.Model:
    """The model with one layer in place of each convolution and its batch norm."""
    norms = _norms(model)
    if not norms:
        return model
    gone = set(norms.values())

    def replaced(layer: keras.Operation) -> keras.Operation:
        return replacement(layer, norms[layer]) if layer in norms else layer

    def called(layer: keras.Operation, *arguments: object, **options: object) -> object:
        return arguments[0] if layer in gone else layer(*arguments, **options)

    return keras.models.clone_model(
        model, clone_function=replaced, call_function=called, recursive=True
    )


def _norms(model: keras.Model) -> dict[Layer, Layer]:
    """Each convolution that can be folded, and its batch norm."""
    calls, takers = Counter(), defaultdict(list)
    for part in _functional_parts(model):
        for node in itertools.chain(*part._nodes_by_depth.values()):
            calls[node.operation] += 1
            for tensor in node.input_tensors:
                takers[tensor._keras_history.operation].append(node.operation)
        for tensor in part.outputs:
            takers[tensor._keras_history.operation].append(part)
    found = {}
    for layer, [taker, *others] in takers.items():
        alone = not others and calls[layer] == calls[taker] == 1
        if alone and _is_plain_convolution(layer) and _is_norm_of_channels(taker):
            found[layer] = taker
    return found


def _functional_parts(model: keras.Model) -> Iterator[keras.Model]:
    """The model and all within it, as far as they are functional."""
    if isinstance(model, keras.Function):
        yield model
        for layer in model.layers:
            yield from _functional_parts(layer)


def _is_plain_convolution(layer: keras.Operation) -> bool:
    """Of the stock layers alone: another may do more in its call."""
    return (
        type(layer) in (layers.Conv2D, layers.DepthwiseConv2D)
        and layer.activation is keras.activations.linear
        and layer.data_format == "channels_last"
    )


def _is_norm_of_channels(layer: keras.Operation) -> bool:
    return type(layer) is layers.BatchNormalization and layer.axis in (-1, 3)
