"""VGG16 (https://arxiv.org/abs/1409.1556) for architectures that modify it.

The registered backbone "vgg16" is the graph of keras.applications. Architectures with
other pools, with normalization or dilation, or with the fully connected layers are
built from the functions here. Convolutions have the names of keras.applications
(`block1_conv1`), so that its weights can be loaded; the fully connected layers are
called `fc6` and `fc7` as in the papers.
"""

from collections.abc import Callable, Sequence

import keras
import numpy as np
from keras import layers

from kerasseg import backbones, blocks

_STAGES = (
    (1, 2),
    (2, 2),
    (4, 3),
    (8, 3),
    (8, 3),
)  # Factor of `filters`, number of convolutions.
_BRANCHES = "", "_2", "_3", "_4"
_FULLY_CONNECTED = {"fc6": "fc1", "fc7": "fc2"}  # Name in keras.applications.
# Their names in up to four branches with the same pretrained weights.
CLASSIFIER = tuple(f"{fc}{end}" for fc in _FULLY_CONNECTED for end in _BRANCHES)


def conv_relu(x, filters: int, *, rate: int = 1, name: str):
    """Applies a 3x3 convolution with bias and ReLU, as in the original network."""
    x = blocks.Conv2D(filters, 3, dilation_rate=rate, padding="same", name=name)(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def pool(x, stage: int):
    """Applies 2x2 max pooling; an odd size is rounded up."""
    return layers.MaxPooling2D(2, padding="same", name=f"pool{stage}")(x)


def deeplab_pool(x, stage: int):
    """Applies 3x3 max pooling, with stride 2 before stage 4 and 1 from there (DeepLab).

    Zero padding does not change the maxima, because the input is the output of a ReLU.
    """
    x = layers.ZeroPadding2D(1, name=f"pool{stage}_pad")(x)
    strides = 2 if stage < 4 else 1
    return layers.MaxPooling2D(3, strides=strides, name=f"pool{stage}")(x)


def deeplab_mean_pool(x):
    """Applies 3x3 average pooling that counts the padding, as in Caffe.

    The released LargeFOV networks have it before fc6.
    """
    x = layers.ZeroPadding2D(1, name="pool5a_pad")(x)
    return layers.AveragePooling2D(3, strides=1, name="pool5a")(x)


def vgg16(
    x,
    *,
    filters: int = 64,
    pool: Callable = pool,
    convolve: Callable = conv_relu,
    rates: Sequence[int] = (1, 1, 1, 1, 1),
):
    """Builds the 13 convolutions and 5 pools of VGG16.

    Args:
        x: Normalized image ("caffe").
        filters: Channels of the first stage; 64 in the paper.
        pool: Function `(x, stage) -> x`, for stages 1 to 5.
        convolve: Function `(x, filters, *, rate, name) -> x`. Its convolution must be
            called `name`.
        rates: Dilation rate of each stage.

    Returns:
        Dict of feature maps in order: "block1_conv1" to "block5_conv3", returned by
        `convolve`, and "pool1" to "pool5" after the stages.
    """
    maps = {}
    for stage, ((factor, units), rate) in enumerate(
        zip(_STAGES, rates, strict=True), start=1
    ):
        for unit in range(1, units + 1):
            name = f"block{stage}_conv{unit}"
            x = maps[name] = convolve(x, factor * filters, rate=rate, name=name)
        x = maps[f"pool{stage}"] = pool(x, stage)
    return maps


def fully_connected(
    x,
    filters: int,
    kernel_size: int,
    *,
    rate: int = 1,
    padding: str = "same",
    name: str,
):
    """Applies a fully connected layer as a convolution, with ReLU and dropout 0.5.

    Args:
        x: Feature map.
        filters: 4096 in VGG16. With fewer, `take_weights` subsamples the filters.
        kernel_size: 7 for "fc6" and 1 for "fc7" in VGG16. With a smaller one,
            `take_weights` subsamples the kernel.
        rate: Dilation rate.
        padding: "same" or "valid".
        name: Name of the convolution; "fc6" and "fc7" can get ImageNet weights.
    """
    x = blocks.Conv2D(
        filters, kernel_size, dilation_rate=rate, padding=padding, name=name
    )(x)
    x = layers.ReLU(name=f"{name}_relu")(x)
    return layers.Dropout(0.5, name=f"{name}_dropout")(x)


def load_weights(encoder: keras.Model, weights) -> None:
    """Loads pretrained weights of VGG16 into a model.

    Args:
        encoder: Model from the image to the last feature map of VGG16, with "fc6" and
            "fc7" if the architecture has them.
        weights: See `backbones.build`.

    Raises:
        UserError: Unknown weights, or those of another backbone.
        MissingFileError: The file of weights does not exist.
        OSError: The ImageNet weights cannot be downloaded.
    """
    if weights is None:
        return
    if weights != "imagenet":
        backbones.load_weights(weights, encoder, "vgg16")
        return
    names = {layer.name for layer in encoder.layers}
    include_top = bool(names & set(_FULLY_CONNECTED))
    donor = backbones.pretrained(keras.applications.VGG16, include_top=include_top)
    take_weights(encoder, donor)


def take_weights(encoder, donor):
    """Copies the weights of VGG16 of keras.applications by layer name.

    A smaller "fc6" or "fc7" gets evenly spaced cells and filters of the donor's, as in
    DeepLab's released initialization (https://arxiv.org/abs/1412.7062, section 3.1).

    Args:
        encoder: Model whose weights are set.
        donor: VGG16 of keras.applications.
    """
    layers_by_name = {layer.name: layer for layer in donor.layers}
    inputs = slice(None)  # Input channels that the previous layer kept.
    for layer in encoder.layers:
        source = layers_by_name.get(_FULLY_CONNECTED.get(layer.name, layer.name))
        if source is None or not layer.weights:
            continue
        kernel, bias = source.get_weights()
        if layer.name in _FULLY_CONNECTED:
            side = 7 if layer.name == "fc6" else 1
            kernel = kernel.reshape(side, side, -1, kernel.shape[-1])
            rows, columns, _, filters = layer.kernel.shape
            kept = _evenly(kernel.shape[-1], filters)
            kernel = kernel[_evenly(side, rows)][:, _evenly(side, columns)]
            kernel, bias = kernel[:, :, inputs][..., kept], bias[kept]
            inputs = kept
        layer.set_weights([backbones.inflate(kernel, layer.kernel.shape), bias])


def _evenly(count, num_kept):
    """Returns `num_kept` evenly spaced indices below `count`."""
    return np.linspace(0, count - 1, num_kept).round().astype(int)
