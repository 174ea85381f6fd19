"""What three or more architectures share: layers and blocks, tensor in, tensor out.

Every block takes the tensor first and its name last; every layer inside is named
after it. Names never hold a rate or an output stride, so that weights carry over.
"""

import keras
from keras import layers

from kerasseg.blocks.convolution import Conv2D
from kerasseg.blocks.crf_rnn import CrfRnn
from kerasseg.blocks.image_input import (
    NORMALIZATIONS,
    SMALLEST_SIDE,
    Normalize,
    PadSmall,
)
from kerasseg.blocks.normalization import (
    BatchNormalization,
    LocalResponseNormalization,
)
from kerasseg.blocks.pooling import AdaptiveAveragePool
from kerasseg.blocks.resizing import AtStride, CropLike, ResizeLike
from kerasseg.blocks.statistics import NormalizeFeatures
from kerasseg.blocks.unpooling import MaxPoolWithIndices, Unpool
from kerasseg.blocks.upsampling import Bilinear, UpSampling2D, upscore

__all__ = [
    "NORMALIZATIONS",
    "SMALLEST_SIDE",
    "AdaptiveAveragePool",
    "AtStride",
    "BatchNormalization",
    "Bilinear",
    "Conv2D",
    "CrfRnn",
    "CropLike",
    "LocalResponseNormalization",
    "MaxPoolWithIndices",
    "Normalize",
    "NormalizeFeatures",
    "PadSmall",
    "ResizeLike",
    "Unpool",
    "UpSampling2D",
    "conv_bn_relu",
    "full_size_logits",
    "picture",
    "separable_conv_bn_relu",
    "upscore",
]


def picture(image_size, normalization):
    """Starts a model.

    Args:
        image_size: Height and width in pixels; None where they vary.
        normalization: Of `NORMALIZATIONS`.

    Returns:
        The input (`[batch, height, width, 3]`, RGB, 0 to 255, float32) and the
        normalised picture, at least `SMALLEST_SIDE` pixels high and wide.
    """
    image = keras.Input((*image_size, 3), dtype="float32", name="image")
    x = Normalize(normalization)(image)
    return image, PadSmall(dtype="float32", name="pad_small")(x)


def full_size_logits(x, padded, image, *, stride=None, name="logits"):
    """Ends a model: brings scores to the size of the picture, in float32.

    Args:
        x: Scores of any size, `[batch, height, width, num_classes]`.
        padded: The normalised picture of `picture`.
        image: The input of `picture`.
        stride: Pixels of the picture to one cell of `x` (see `ResizeLike`).
        name: Of the result.
    """
    x = ResizeLike(stride, dtype="float32", name=f"{name}_resize")([x, padded])
    return CropLike(dtype="float32", name=name)([x, image])


def conv_bn_relu(x, filters, kernel_size=3, *, stride=1, rate=1, name):
    """Convolves without a bias, then normalises over the batch, then ReLU."""
    x = Conv2D(
        filters,
        kernel_size,
        strides=stride,
        dilation_rate=rate,
        padding="same",
        use_bias=False,
        name=f"{name}_conv",
    )(x)
    x = BatchNormalization(epsilon=1e-5, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def separable_conv_bn_relu(x, filters, kernel_size=3, *, rate=1, name):
    """Convolves each channel alone, then across channels; batch norm and ReLU twice.

    The depthwise layer is Keras' own: TensorFlow's native kernel with a rate is faster,
    but its gradients are wrong (TF 2.21, oneDNN) or missing (without).
    """
    x = layers.DepthwiseConv2D(
        kernel_size,
        dilation_rate=rate,
        padding="same",
        use_bias=False,
        name=f"{name}_depthwise",
    )(x)
    x = BatchNormalization(epsilon=1e-5, name=f"{name}_depthwise_bn")(x)
    x = layers.ReLU(name=f"{name}_depthwise_relu")(x)
    return conv_bn_relu(x, filters, 1, name=name)
