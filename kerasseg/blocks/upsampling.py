"""Upsampling by repetition, interpolation and transposed convolution."""

import keras
import numpy as np
from keras import initializers, layers, ops

from kerasseg.blocks import resizing


@keras.saving.register_keras_serializable("kerasseg")
class Bilinear(initializers.Initializer):
    """Initializes a transposed convolution to bilinear interpolation of each channel.

    In a kernel `[size, size, filters, channels]` only the diagonal of the last two axes
    is not zero: it decreases linearly from 1 at the center.
    """

    def __call__(self, shape, dtype=None):
        """Returns the kernel."""
        height, width, filters, channels = shape
        window = np.outer(_triangle(height), _triangle(width))
        kernel = np.zeros(shape, "float32")
        for i in range(min(filters, channels)):
            kernel[:, :, i, i] = window
        return ops.convert_to_tensor(kernel, dtype or "float32")

    def get_config(self):
        """Returns no arguments."""
        return {}


@keras.saving.register_keras_serializable("kerasseg")
class UpSampling2D(layers.UpSampling2D):
    """Upsampling layer that can be exported with unknown height and width.

    TFLite cannot convert a convolution after `keras.layers.UpSampling2D` with "nearest"
    interpolation of an unknown size, and with "bilinear" that layer cannot be traced.
    """

    def call(self, x):
        """Returns `x` at `size` times its height and width."""
        batch, height, width = ops.shape(x)[:3]
        down, right = self.size
        if self.interpolation == "bilinear":
            return resizing.resize(x, height * down, width * right)
        channels = x.shape[3]
        x = ops.concatenate([x] * right, axis=3)
        x = ops.reshape(x, (batch, height, width * right, channels))
        x = ops.concatenate([x] * down, axis=2)
        return ops.reshape(x, (batch, height * down, width * right, channels))


def _triangle(size):
    """Returns interpolation weights, such as 1/4, 3/4, 3/4, 1/4 or 1/2, 1, 1/2."""
    factor = (size + 1) // 2
    middle = (size - 1) / 2
    return 1 - np.abs(np.arange(size) - middle) / factor


def upscore(
    x,
    stride: int,
    *,
    kernel_size: int | None = None,
    trainable: bool = False,
    name: str,
):
    """Upsamples scores by a transposed convolution in float32 ([Long15] section 3.3).

    It starts as bilinear interpolation with half-pixel centers, except for the
    outermost `stride / 2` pixels, where cells outside of `x` count as zeros.

    Args:
        x: Scores, `[batch, height, width, num_classes]`.
        stride: Upsampling factor, even.
        kernel_size: Size of the kernel: twice the stride (None), or one less, which
            puts cell `i` at pixel `i * stride + stride / 2`.
        trainable: Whether the kernel is trained.
        name: Name of the layer.

    Returns:
        Scores of `stride` times the height and width.
    """
    return layers.Conv2DTranspose(
        x.shape[-1],
        kernel_size or 2 * stride,
        strides=stride,
        padding="same",
        use_bias=False,
        kernel_initializer=Bilinear(),
        trainable=trainable,
        dtype="float32",
        name=name,
    )(x)
