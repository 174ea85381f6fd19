"""FCN-32s on the other two classifiers of its paper, AlexNet and GoogLeNet.

[Long15] is https://arxiv.org/abs/1411.4038, section 4.1 and table 1. Keras has ImageNet
weights of neither. FCN-AlexNet is the released network (CaffeNet, with pooling before
normalization). FCN-GoogLeNet was not released; it is BVLC's replication of
https://arxiv.org/abs/1409.4842 without auxiliary heads and the last average pool, as
the paper states.

The released network pads the image by 100 pixels and crops the scores. Here every layer
pads its input, and the image is padded so that cell `i` of stride 32 has its center at
pixel 32 i + 16, as `blocks.upscore` expects. Both compute the same values where the
field of view contains no padding.
"""

from collections.abc import Sequence

import keras
from keras import layers, ops

from kerasseg import backbones, blocks, errors, models

_PAPER = "https://arxiv.org/abs/1411.4038"
# Channels by stage: 1x1; 3x3 reduce, 3x3; 5x5 reduce, 5x5; pool projection.
_INCEPTIONS = {
    3: ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    4: (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    5: ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
}


@models.register(
    paper=_PAPER,
    params=56_954_261,
    macs=20_334_353_785,
    output_stride=32,
    test_options={
        "filters": (16, 32, 32, 32, 32),
        "hidden_units": 32,
        "score_initializer": "glorot_uniform",
    },
)
def fcn_32s_alexnet(
    num_classes: int,
    image_size: Sequence[int | None],
    *,
    backbone_weights: str | None = None,
    score_initializer: str = "zeros",
    filters: Sequence[int] = (96, 256, 384, 384, 256),
    hidden_units: int = 4096,
) -> keras.Model:
    """Builds FCN-AlexNet.

    Args:
        num_classes: Number of classes.
        image_size: Height and width in pixels; None where they vary.
        backbone_weights: None, or a `.keras` file of a model with the same layers.
        score_initializer: Initializer of the kernel of the score layer; zeros in the
            paper.
        filters: Channels of conv1 to conv5, even numbers.
        hidden_units: Channels of fc6 and fc7; 4096 in AlexNet.

    Returns:
        A model from images to logits; see `models.build_model`.
    """
    _check_weights(backbone_weights, "AlexNet")
    image, x = blocks.image_input(image_size, "caffe")
    x = _pad(x, 1, 9, name="conv1_pad")
    x = _conv_relu(x, filters[0], 11, strides=4, padding="valid", name="conv1")
    x = blocks.LocalResponseNormalization(name="norm1")(_pool(x, name="pool1"))
    x = _conv_relu(x, filters[1], 5, groups=2, name="conv2")
    x = blocks.LocalResponseNormalization(name="norm2")(_pool(x, name="pool2"))
    x = _conv_relu(x, filters[2], 3, name="conv3")
    x = _conv_relu(x, filters[3], 3, groups=2, name="conv4")
    x = _conv_relu(x, filters[4], 3, groups=2, name="conv5")
    x = _pad(_pool(x, name="pool5"), 3, 2, name="fc6_pad")
    x = _conv_relu(x, hidden_units, 6, padding="valid", name="fc6")
    x = layers.Dropout(0.5, name="fc6_dropout")(x)
    x = _conv_relu(x, hidden_units, 1, name="fc7")
    x = layers.Dropout(0.5, name="fc7_dropout")(x)
    if backbone_weights is not None:
        backbones.load_weights(backbone_weights, keras.Model(image, x), "AlexNet")
    return _finish(image, x, num_classes, score_initializer, "fcn_32s_alexnet")


@models.register(
    paper=_PAPER,
    params=5_995_077,
    macs=9_341_516_889,
    output_stride=32,
    test_options={"divisor": 4, "score_initializer": "glorot_uniform"},
)
def fcn_32s_googlenet(
    num_classes: int,
    image_size: Sequence[int | None],
    *,
    backbone_weights: str | None = None,
    score_initializer: str = "zeros",
    divisor: int = 1,
) -> keras.Model:
    """Builds FCN-GoogLeNet.

    Args:
        num_classes: Number of classes.
        image_size: Height and width in pixels; None where they vary.
        backbone_weights: None, or a `.keras` file of a model with the same layers.
        score_initializer: Initializer of the kernel of the score layer; zeros in the
            paper.
        divisor: Divisor of all numbers of channels; 1 in the paper.

    Returns:
        A model from images to logits; see `models.build_model`.
    """
    _check_weights(backbone_weights, "GoogLeNet")
    image, x = blocks.image_input(image_size, "caffe")
    x = _pad(x, 17, 3, name="conv1_pad")
    x = _conv_relu(x, 64 // divisor, 7, strides=2, padding="valid", name="conv1")
    x = blocks.LocalResponseNormalization(name="norm1")(_pool(x, name="pool1"))
    x = _conv_relu(x, 64 // divisor, 1, name="conv2_reduce")
    x = _conv_relu(x, 192 // divisor, 3, name="conv2")
    x = _pool(blocks.LocalResponseNormalization(name="norm2")(x), name="pool2")
    for stage, units in _INCEPTIONS.items():
        for letter, sizes in zip("abcde", units, strict=False):
            filters = [size // divisor for size in sizes]
            x = _inception(x, filters, name=f"inception_{stage}{letter}")
        if stage < 5:
            x = _pool(x, name=f"pool{stage}")
    x = layers.Dropout(0.4, name="dropout")(x)
    if backbone_weights is not None:
        backbones.load_weights(backbone_weights, keras.Model(image, x), "GoogLeNet")
    return _finish(image, x, num_classes, score_initializer, "fcn_32s_googlenet")


def _conv_relu(x, filters, kernel_size, *, name, **options):
    layer = GroupedConv2D if "groups" in options else blocks.Conv2D
    options = {"padding": "same", **options}
    x = layer(filters, kernel_size, name=name, **options)(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def _pad(x, before, after, *, name):
    return layers.ZeroPadding2D(((before, after), (before, after)), name=name)(x)


def _pool(x, *, name):
    """Applies 3x3 max pooling of stride 2 to a map without negative values."""
    x = _pad(x, 0, 2, name=f"{name}_pad")
    return layers.MaxPooling2D(3, strides=2, name=name)(x)


def _inception(x, sizes, *, name):
    """Applies an inception module with the channels `sizes`; see `_INCEPTIONS`."""
    pooled = layers.MaxPooling2D(3, strides=1, padding="same", name=f"{name}_pool")(x)
    middle = _conv_relu(x, sizes[1], 1, name=f"{name}_3x3_reduce")
    large = _conv_relu(x, sizes[3], 1, name=f"{name}_5x5_reduce")
    branches = [
        _conv_relu(x, sizes[0], 1, name=f"{name}_1x1"),
        _conv_relu(middle, sizes[2], 3, name=f"{name}_3x3"),
        _conv_relu(large, sizes[4], 5, name=f"{name}_5x5"),
        _conv_relu(pooled, sizes[5], 1, name=f"{name}_pool_project"),
    ]
    return layers.Concatenate(name=f"{name}_concat")(branches)


def _check_weights(weights, title):
    if weights == "imagenet":
        raise errors.UserError(
            f"Keras has no ImageNet weights of {title}. Set `backbone_weights` to none "
            "or a .keras file of a model with the same layers."
        )


def _finish(image, x, num_classes, initializer, name):
    """Computes scores, upsamples them by fixed weights and returns the model."""
    x = layers.Conv2D(
        num_classes,
        1,
        kernel_initializer=initializer,
        dtype="float32",
        name="score_fr",
    )(x)
    x = blocks.upscore(x, 32, kernel_size=63, name="upscore32")
    logits = blocks.CropLike(dtype="float32", name="logits")([x, image])
    return keras.Model(image, logits, name=name)


@keras.saving.register_keras_serializable("kerasseg")
class GroupedConv2D(layers.Conv2D):
    """Grouped convolution without XLA, which Keras would compile it with."""

    def convolution_op(self, inputs, kernel):
        """Convolves one group after the other."""
        groups = zip(
            ops.split(inputs, self.groups, axis=-1),
            ops.split(kernel, self.groups, axis=-1),
            strict=True,
        )
        convolve = super().convolution_op
        return ops.concatenate([convolve(x, part) for x, part in groups], axis=-1)
