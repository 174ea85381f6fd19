"""Maps enlarged: cells repeated, or by transposed convolutions that start bilinear."""

import keras
import numpy as np
from keras import initializers, layers, ops

from kerasseg.blocks import resizing


@keras.saving.register_keras_serializable("kerasseg")
class Bilinear(initializers.Initializer):
    """Makes a transposed convolution interpolate, each channel on its own.

    Of a kernel `[size, size, filters, channels]` only the diagonal of the last two
    axes is not zero: it falls from the middle, where it is 1, linearly to the ends.
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
        """Has nothing to say."""
        return {}


@keras.saving.register_keras_serializable("kerasseg")
class UpSampling2D(layers.UpSampling2D):
    """Keras' layer, "nearest" or "bilinear", for graphs whose sides are not known.

    Keras repeats such a side by an operation after which TFLite knows no side any more:
    it cannot write a convolution that comes next. Bilinear it cannot be traced at all.
    """

    def call(self, x):
        """Takes a map; returns one of `size` times its height and width."""
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
    """Weighs a cell at each pixel: 1/4, 3/4, 3/4, 1/4 or 1/2, 1, 1/2."""
    factor = (size + 1) // 2
    middle = (size - 1) / 2
    return 1 - np.abs(np.arange(size) - middle) / factor


def upscore(x, stride, *, kernel_size=None, trainable=False, name):
    """Enlarges score maps ([Long15] section 3.3), in float32.

    Cell `i` comes to lie on the middle of its `stride` pixels, as in a resize with
    half-pixel centres, which this equals but for the outermost `stride / 2` pixels:
    there the cells that are missing count as zeros.

    Args:
        x: Scores, `[batch, height, width, num_classes]`.
        stride: Pixels to one cell of `x`, even.
        kernel_size: Twice the stride, or one less: then cell `i` lies on the pixel
            `i * stride + stride / 2`.
        trainable: Whether it is learned, from the start at the interpolation.
        name: Of the layer.
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
