"""FCN (Long et al., 2015): VGG16 made convolutional, its scores fused over strides.

[Long15] is https://arxiv.org/abs/1411.4038, [Shelhamer16] its long form,
https://arxiv.org/abs/1605.06211; the code is that of github.com/shelhamer/
fcn.berkeleyvision.org. Stages start from one another by --initial_checkpoint, 32s, then
16s, then 8s: what they share has one name, what is new starts at zero and bilinear.

The released code is followed: all transposed convolutions are fixed (the paper learns
all but the last: `learn_upsampling`). Only the padding differs. The code pads the
picture by 100 pixels, convolves fc6 without padding and crops; here every layer pads
its own map, and maps are cropped at the bottom and right alone, which saves half of the
work at the sizes of VOC. Both compute the same where no padding comes into the field
of view of 404 pixels, but for the grid: cell `i` of stride 32 has its middle at pixel
32 i + 15.5 (there 32 i + 12.5). The released weights fit.
"""

import keras
from keras import initializers, layers

from kerasseg import backbones, blocks, models
from kerasseg.backbones import vgg

_PAPER = "https://arxiv.org/abs/1411.4038"
_SMALL = {"filters": 8, "hidden_units": 32, "score_initializer": "glorot_uniform"}


@models.register(
    paper=_PAPER,
    params=134_346_581,
    macs=117_024_511_680,
    output_stride=32,
    encoder="vgg16",
    test_options=_SMALL,
)
def fcn_32s(
    num_classes,
    image_size,
    *,
    backbone_weights=None,
    score_initializer="zeros",
    filters=64,
    hidden_units=4096,
):
    """Builds FCN-32s: one score map, enlarged 32 times ([Long15] section 4.1).

    Args:
        num_classes: Channels of the logits.
        image_size: Height and width; None where they vary.
        backbone_weights: See `vgg.load_weights`; "imagenet" fills fc6 and fc7 too.
        score_initializer: Of the score layers' kernels; the paper's are zeros.
        filters: Channels of the first stage; VGG16 has 64.
        hidden_units: Filters of fc6 and fc7; VGG16 has 4096.
    """
    image, maps = _vgg16(image_size, backbone_weights, filters, hidden_units)
    x = _score(maps["fc7"], num_classes, score_initializer, name="score_fr")
    return _finish(image, x, 32, "fcn_32s")


@models.register(
    paper=_PAPER,
    params=134_357_354,
    macs=117_008_003_664,
    output_stride=32,
    encoder="vgg16",
    test_options=_SMALL,
)
def fcn_16s(
    num_classes,
    image_size,
    *,
    backbone_weights=None,
    learn_upsampling=False,
    score_initializer="zeros",
    filters=64,
    hidden_units=4096,
):
    """Builds FCN-16s: adds scores of pool4 ([Long15] section 4.2).

    Args:
        num_classes: Channels of the logits.
        image_size: Height and width; None where they vary.
        backbone_weights: See `vgg.load_weights`; "imagenet" fills fc6 and fc7 too.
        learn_upsampling: Whether the transposed convolutions but the last are learned,
            as in the paper; in the released code they are not.
        score_initializer: Of the score layers' kernels; the paper's are zeros.
        filters: Channels of the first stage; VGG16 has 64.
        hidden_units: Filters of fc6 and fc7; VGG16 has 4096.
    """
    image, maps = _vgg16(image_size, backbone_weights, filters, hidden_units)
    x = _score(maps["fc7"], num_classes, score_initializer, name="score_fr")
    x = blocks.upscore(x, 2, trainable=learn_upsampling, name="upscore2")
    skip = _score(maps["pool4"], num_classes, score_initializer, name="score_pool4")
    x = _fuse(x, skip, name="fuse_pool4")
    return _finish(image, x, 16, "fcn_16s")


@models.register(
    paper=_PAPER,
    params=134_362_751,
    macs=117_023_611_872,
    output_stride=32,
    encoder="vgg16",
    test_options=_SMALL,
)
def fcn_8s(
    num_classes,
    image_size,
    *,
    backbone_weights=None,
    at_once=False,
    learn_upsampling=False,
    score_initializer="zeros",
    filters=64,
    hidden_units=4096,
):
    """Builds FCN-8s: adds scores of pool4, then of pool3 ([Long15] figure 3).

    Args:
        num_classes: Channels of the logits.
        image_size: Height and width; None where they vary.
        backbone_weights: See `vgg.load_weights`; "imagenet" fills fc6 and fc7 too.
        at_once: Whether pool4 and pool3 are scaled by 0.01 and 0.0001 before they are
            scored, so that all strides can be trained in one stage ([Shelhamer16]
            section 4.3; the scales are those of the released code).
        learn_upsampling: Whether the transposed convolutions but the last are learned,
            as in the paper; in the released code they are not.
        score_initializer: Of the score layers' kernels; the paper's are zeros.
        filters: Channels of the first stage; VGG16 has 64.
        hidden_units: Filters of fc6 and fc7; VGG16 has 4096.
    """
    image, maps = _vgg16(image_size, backbone_weights, filters, hidden_units)
    x = _score(maps["fc7"], num_classes, score_initializer, name="score_fr")
    x = blocks.upscore(x, 2, trainable=learn_upsampling, name="upscore2")
    pool4, pool3 = maps["pool4"], maps["pool3"]
    if at_once:
        pool4 = _scale(pool4, 0.01, name="scale_pool4")
        pool3 = _scale(pool3, 0.0001, name="scale_pool3")
    skip = _score(pool4, num_classes, score_initializer, name="score_pool4")
    x = _fuse(x, skip, name="fuse_pool4")
    x = blocks.upscore(x, 2, trainable=learn_upsampling, name="upscore_pool4")
    skip = _score(pool3, num_classes, score_initializer, name="score_pool3")
    x = _fuse(x, skip, name="fuse_pool3")
    return _finish(image, x, 8, "fcn_8s")


def _vgg16(image_size, weights, filters, hidden_units):
    """Starts a model: the picture, and the maps of VGG16 up to "fc7"."""
    image, padded = blocks.picture(image_size, backbones.normalization("vgg16"))
    maps = vgg.vgg16(padded, filters=filters)
    x = vgg.fully_connected(maps["pool5"], hidden_units, 7, name="fc6")
    maps["fc7"] = vgg.fully_connected(x, hidden_units, 1, name="fc7")
    vgg.load_weights(keras.Model(image, maps["fc7"]), weights)
    return image, maps


def _score(x, num_classes, initializer, *, name):
    return layers.Conv2D(
        num_classes, 1, kernel_initializer=initializer, dtype="float32", name=name
    )(x)


def _scale(x, factor, *, name):
    """Multiplies by fixed numbers, one a channel, as Caffe's Scale layer does."""
    return layers.DepthwiseConv2D(
        1,
        use_bias=False,
        depthwise_initializer=initializers.Constant(factor),
        trainable=False,
        dtype="float32",
        name=name,
    )(x)


def _fuse(x, skip, *, name):
    """Adds two score maps of one stride; `x` may end one cell later."""
    x = blocks.CropLike(dtype="float32", name=f"{name}_crop")([x, skip])
    return layers.Add(dtype="float32", name=name)([x, skip])


def _finish(image, scores, stride, name):
    """Ends a model: enlarges the scores, always by fixed weights."""
    x = blocks.upscore(scores, stride, name=f"upscore{stride}")
    logits = blocks.CropLike(dtype="float32", name="logits")([x, image])
    return keras.Model(image, logits, name=name)
