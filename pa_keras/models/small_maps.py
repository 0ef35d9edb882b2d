"""Room for the kernels of depthwise convolutions on small feature maps, when they train."""

import tensorflow as tf
from keras import layers

from pa_keras.cpu import onednn_is_on


def room_for_kernel(layer: layers.Layer, features: tf.Tensor) -> tuple[int, int]:
    """The rows and columns of zeros with which the gradient of a kernel is fast on a CPU.

    oneDNN computes the gradient of a depthwise kernel by its slow reference if a feature map is
    smaller than the kernel: for 90 maps of 4 x 4 pixels, 1,152 channels and a kernel of 5 x 5 it
    took 182 ms, of 5 x 5 pixels 30 ms. Rows below and columns to the right of a map stand where the
    convolution pads with zeros anyway, so they change nothing else, once they are cut off again.

    Args:
        layer: Convolution with channels last.
        features: Its input (B, H, W, C).

    Returns:
        Numbers of rows and columns to add; (0, 0) if they would not help.

    Example:
        >>> room_for_kernel(layers.DepthwiseConv2D(5, padding="same"), tf.zeros((2, 8, 8, 3)))
        (0, 0)
    """
    size = features.shape[1:3]
    if (
        not isinstance(layer, layers.DepthwiseConv2D)
        or layer.padding != "same"
        or {*layer.strides, *layer.dilation_rate} != {1}
        or None in size
        or not onednn_is_on()
        or tf.config.list_physical_devices("GPU")
    ):
        return 0, 0
    rows, columns = (max(0, k - s) for k, s in zip(layer.kernel_size, size, strict=True))
    return rows, columns
