"""FCN (Long et al., 2015): fully convolutional VGG16 with fused scores.

[Long15] is https://arxiv.org/abs/1411.4038, [Shelhamer16] its long form,
https://arxiv.org/abs/1605.06211; the code is that of github.com/shelhamer/
fcn.berkeleyvision.org. The models are trained in stages, 32s, 16s, then 8s, each from
the weights of the one before (`initial_checkpoint`): shared layers have the same names,
new layers start at zero and at bilinear interpolation.

As in the released code, transposed convolutions are not trained (in the paper, all but
the last are: `learn_upsampling`). Only the padding differs. That code pads the image by
100 pixels, convolves fc6 without padding and crops. Here every layer pads its input,
and maps are cropped only at the bottom and right, which halves the computation at the
image sizes of VOC. Both compute the same values where the field of view of 404 pixels
contains no padding, except that cell `i` of stride 32 has its center at pixel 32 i +
15.5 instead of 32 i + 12.5. The released weights can be loaded.
"""

from collections.abc import Sequence

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
    num_classes: int,
    image_size: Sequence[int | None],
    *,
    backbone_weights: str | None = None,
    score_initializer: str = "zeros",
    filters: int = 64,
    hidden_units: int = 4096,
) -> keras.Model:
    """Builds FCN-32s: scores of stride 32, upsampled ([Long15] section 4.1).

    Args:
        num_classes: Number of classes.
        image_size: Height and width in pixels; None where they vary.
        backbone_weights: See `backbones.build`. They include fc6 and fc7.
        score_initializer: Initializer of the kernels of the score layers; zeros in the
            paper.
        filters: Channels of the first stage; 64 in VGG16.
        hidden_units: Channels of fc6 and fc7; 4096 in VGG16.

    Returns:
        A model from images to logits; see `models.build_model`.
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
    num_classes: int,
    image_size: Sequence[int | None],
    *,
    backbone_weights: str | None = None,
    learn_upsampling: bool = False,
    score_initializer: str = "zeros",
    filters: int = 64,
    hidden_units: int = 4096,
) -> keras.Model:
    """Builds FCN-16s, which adds the scores of pool4 ([Long15] section 4.2).

    Args:
        num_classes: Number of classes.
        image_size: Height and width in pixels; None where they vary.
        backbone_weights: See `backbones.build`. They include fc6 and fc7.
        learn_upsampling: Whether the transposed convolutions except the last are
            trained, as in the paper but not in the released code.
        score_initializer: Initializer of the kernels of the score layers; zeros in the
            paper.
        filters: Channels of the first stage; 64 in VGG16.
        hidden_units: Channels of fc6 and fc7; 4096 in VGG16.

    Returns:
        A model from images to logits; see `models.build_model`.
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
    num_classes: int,
    image_size: Sequence[int | None],
    *,
    backbone_weights: str | None = None,
    at_once: bool = False,
    learn_upsampling: bool = False,
    score_initializer: str = "zeros",
    filters: int = 64,
    hidden_units: int = 4096,
) -> keras.Model:
    """Builds FCN-8s, which adds the scores of pool4 and pool3 ([Long15] figure 3).

    Args:
        num_classes: Number of classes.
        image_size: Height and width in pixels; None where they vary.
        backbone_weights: See `backbones.build`. They include fc6 and fc7.
        at_once: Whether to scale pool4 and pool3 by 0.01 and 0.0001 before their score
            layers, so that all strides can be trained in one stage ([Shelhamer16]
            section 4.3; the factors are those of the released code).
        learn_upsampling: Whether the transposed convolutions except the last are
            trained, as in the paper but not in the released code.
        score_initializer: Initializer of the kernels of the score layers; zeros in the
            paper.
        filters: Channels of the first stage; 64 in VGG16.
        hidden_units: Channels of fc6 and fc7; 4096 in VGG16.

    Returns:
        A model from images to logits; see `models.build_model`.
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
    """Returns the input image and the feature maps of VGG16 up to "fc7"."""
    image, padded = blocks.image_input(image_size, backbones.normalization("vgg16"))
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
    """Multiplies by a fixed factor per channel, as Caffe's Scale layer does."""
    return layers.DepthwiseConv2D(
        1,
        use_bias=False,
        depthwise_initializer=initializers.Constant(factor),
        trainable=False,
        dtype="float32",
        name=name,
    )(x)


def _fuse(x, skip, *, name):
    """Adds scores of equal stride; `x` can be larger by one cell."""
    x = blocks.CropLike(dtype="float32", name=f"{name}_crop")([x, skip])
    return layers.Add(dtype="float32", name=name)([x, skip])


def _finish(image, scores, stride, name):
    """Upsamples the scores by fixed weights and returns the model."""
    x = blocks.upscore(scores, stride, name=f"upscore{stride}")
    logits = blocks.CropLike(dtype="float32", name="logits")([x, image])
    return keras.Model(image, logits, name=name)
