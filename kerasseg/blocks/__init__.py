"""Layers and blocks that several architectures share.

A block is a function that takes a tensor first and a name last and returns a tensor.
The names of its layers start with that name. They do not contain a rate or an output
stride, so that weights can be loaded at another one.
"""

from collections.abc import Sequence

from keras import layers

from kerasseg.blocks.bridging import (
    ClassPasses,
    ClassProbabilities,
    GlobalMaxPoolWithPeaks,
    LogProbabilities,
    ReluGate,
    TransposableConv2D,
)
from kerasseg.blocks.convolution import Conv2D
from kerasseg.blocks.crf_rnn import CrfRnn
from kerasseg.blocks.detection import (
    Detections,
    MasksOfClasses,
    Proposals,
    RoiAlign,
)
from kerasseg.blocks.normalization import (
    BatchNormalization,
    LocalResponseNormalization,
)
from kerasseg.blocks.pooling import AdaptiveAveragePool
from kerasseg.blocks.preprocessing import (
    NORMALIZATIONS,
    SMALLEST_SIDE,
    Normalize,
    PadSmall,
    PadToMultiple,
    normalize,
    of_channels,
    raw_input,
)
from kerasseg.blocks.resizing import (
    RESIZES,
    AtStride,
    CropLike,
    CropToMultiple,
    ResizeLike,
)
from kerasseg.blocks.statistics import NormalizeFeatures
from kerasseg.blocks.unpooling import MaxPoolWithIndices, Unpool
from kerasseg.blocks.upsampling import Bilinear, UpSampling2D, upscore

__all__ = [
    "NORMALIZATIONS",
    "RESIZES",
    "SMALLEST_SIDE",
    "AdaptiveAveragePool",
    "AtStride",
    "BatchNormalization",
    "Bilinear",
    "ClassPasses",
    "ClassProbabilities",
    "Conv2D",
    "CrfRnn",
    "CropLike",
    "CropToMultiple",
    "Detections",
    "GlobalMaxPoolWithPeaks",
    "LocalResponseNormalization",
    "LogProbabilities",
    "MasksOfClasses",
    "MaxPoolWithIndices",
    "Normalize",
    "NormalizeFeatures",
    "PadSmall",
    "PadToMultiple",
    "Proposals",
    "ReluGate",
    "ResizeLike",
    "RoiAlign",
    "TransposableConv2D",
    "Unpool",
    "UpSampling2D",
    "conv_bn_relu",
    "full_size_logits",
    "image_input",
    "normalize",
    "of_channels",
    "raw_input",
    "separable_conv_bn_relu",
    "upscore",
]


def image_input(image_size: Sequence[int | None], normalization: str):
    """Creates the input of a model and normalizes it.

    Args:
        image_size: Height and width in pixels; None where they vary.
        normalization: One of `NORMALIZATIONS`.

    Returns:
        `(image, x)`: the input, `[batch, height, width, channels]`, float32, RGB from 0
        to 255 unless `of_channels` says otherwise; and the normalized image, with at
        least 3 channels, padded to at least `SMALLEST_SIDE` pixels per side.
    """
    image = raw_input(image_size)
    x = normalize(image, normalization)
    return image, PadSmall(dtype="float32", name="pad_small")(x)


def full_size_logits(
    x,
    padded,
    image,
    *,
    stride: int | None = None,
    resize: str | None = None,
    name: str = "logits",
):
    """Resizes logits to the size of the image, in float32.

    Args:
        x: Logits of any size, `[batch, height, width, num_classes]`.
        padded: Second value returned by `image_input`.
        image: First value returned by `image_input`.
        stride: Stride of `x` in pixels; see `ResizeLike`.
        resize: See `ResizeLike`.
        name: Name of the last layer.

    Returns:
        Logits `[batch, height, width, num_classes]` with the size of `image`.
    """
    layer = ResizeLike(stride, resize=resize, dtype="float32", name=f"{name}_resize")
    x = layer([x, padded])
    return CropLike(dtype="float32", name=name)([x, image])


def conv_bn_relu(
    x, filters: int, kernel_size: int = 3, *, stride: int = 1, rate: int = 1, name: str
):
    """Applies a convolution without bias, batch normalization and ReLU."""
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


def separable_conv_bn_relu(
    x, filters: int, kernel_size: int = 3, *, rate: int = 1, name: str
):
    """Applies a depthwise and a 1x1 convolution, each with batch norm and ReLU.

    The depthwise layer is that of Keras, because the gradients of TensorFlow's faster
    dilated kernel are wrong (TF 2.21 with oneDNN) or missing (without oneDNN).
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
