"""VGG16 (https://arxiv.org/abs/1409.1556) for networks that change its insides.

The encoder "vgg16" of the registry is the graph of keras.applications. The papers that
grew from VGG16 pool otherwise, normalise, dilate, or keep its fully connected layers:
they build it here. Layers are called as in keras.applications (`block1_conv1`), the
fully connected ones `fc6` and `fc7` as in the papers, so that its weights fit.
"""

import keras
import numpy as np
from keras import layers

from kerasseg import backbones, blocks

_STAGES = ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3))  # Times `filters`, convolutions.
_BRANCHES = "", "_2", "_3", "_4"
_FULLY_CONNECTED = {"fc6": "fc1", "fc7": "fc2"}  # Ours, and keras.applications'.
# Their names, and those of up to four branches that start from the same weights.
CLASSIFIER = tuple(f"{fc}{end}" for fc in _FULLY_CONNECTED for end in _BRANCHES)


def conv_relu(x, filters, *, rate=1, name):
    """Convolves 3x3 with a bias, then ReLU: a layer of the original network."""
    x = blocks.Conv2D(filters, 3, dilation_rate=rate, padding="same", name=name)(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def pool(x, stage):
    """Halves a map: maxima of 2x2, windows of one row or column at an odd end."""
    return layers.MaxPooling2D(2, padding="same", name=f"pool{stage}")(x)


def deeplab_pool(x, stage):
    """Takes maxima around every second cell, every cell from stage 4 on (DeepLab).

    Padding by zeros is what Caffe does: nothing after a ReLU is smaller.
    """
    x = layers.ZeroPadding2D(1, name=f"pool{stage}_pad")(x)
    strides = 2 if stage < 4 else 1
    return layers.MaxPooling2D(3, strides=strides, name=f"pool{stage}")(x)


def deeplab_mean_pool(x):
    """Takes the mean of 3x3 cells, those of the padding counted, as Caffe does.

    The released LargeFOV networks have it before fc6.
    """
    x = layers.ZeroPadding2D(1, name="pool5a_pad")(x)
    return layers.AveragePooling2D(3, strides=1, name="pool5a")(x)


def vgg16(x, *, filters=64, pool=pool, convolve=conv_relu, rates=(1, 1, 1, 1, 1)):
    """Builds the thirteen convolutions and the five pools.

    Args:
        x: The normalised picture ("caffe").
        filters: Channels of the first stage; 64 in the paper.
        pool: Function `(x, stage) -> x`, stage 1 to 5.
        convolve: Function `(x, filters, *, rate, name) -> x`; the convolution in it is
            called `name`.
        rates: Dilation of each stage.

    Returns:
        Dict of maps in their order: "block1_conv1", what `convolve` returned, to
        "block5_conv3", and after each stage "pool1" to "pool5".
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


def fully_connected(x, filters, kernel_size, *, rate=1, padding="same", name):
    """Convolves in place of a fully connected layer; ReLU and dropout of a half.

    Args:
        x: The map before it.
        filters: 4096 in VGG16; fewer take every n-th of its filters.
        kernel_size: 7 for "fc6", 1 for "fc7" in VGG16; less takes some of its cells.
        rate: Dilation.
        padding: "same" or "valid".
        name: "fc6" or "fc7", which ImageNet weights are known for, or another.
    """
    x = blocks.Conv2D(
        filters, kernel_size, dilation_rate=rate, padding=padding, name=name
    )(x)
    x = layers.ReLU(name=f"{name}_relu")(x)
    return layers.Dropout(0.5, name=f"{name}_dropout")(x)


def load_weights(encoder, weights):
    """Gives the layers of VGG16 in a model their weights.

    Args:
        encoder: Model from the picture to the last map of VGG16, "fc6" and "fc7" in it
            where the architecture has them.
        weights: See `backbones.build`.

    Raises:
        ValueError: No such kind of weights, or those of another encoder.
        FileNotFoundError: No such file.
        OSError: Weights of ImageNet cannot be downloaded.
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
    """Copies the weights of keras.applications' VGG16, layer by layer.

    A smaller "fc6" or "fc7" takes evenly spaced cells and filters of the donor's, as
    DeepLab's released initialisation does (https://arxiv.org/abs/1412.7062, section
    3.1).
    """
    theirs = {layer.name: layer for layer in donor.layers}
    inputs = slice(None)  # Channels of the map before that the filters still see.
    for layer in encoder.layers:
        source = theirs.get(_FULLY_CONNECTED.get(layer.name, layer.name))
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
        layer.set_weights([kernel, bias])


def _evenly(count, wanted):
    """Picks `wanted` of `count` numbers, the first and the last among them."""
    return np.linspace(0, count - 1, wanted).round().astype(int)
