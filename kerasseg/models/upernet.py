"""UPerNet (Xiao et al., 2018): pyramid pooling on top of a feature pyramid."""

import keras
from keras import initializers, layers

from kerasseg import backbones, blocks, models

_BINS = (1, 2, 3, 6)


@models.register(
    paper="https://arxiv.org/abs/1807.10221",
    params=64_222_294,
    macs=249_099_481_792,
    output_stride=32,
    setting={"num_classes": 150, "backbone": "resnet50"},
    test_options={"backbone": "resnet18_quarter", "filters": 16},
)
def upernet(
    num_classes,
    image_size,
    *,
    backbone="resnet50",
    backbone_weights=None,
    stem="deep",
    filters=512,
    aux=False,
):
    """Builds UPerNet for a single task ([Xiao18] section 4.1, figure 4).

    Follows the authors' code for scene parsing (CSAILVision, UPerNet with adaptive
    average pooling in place of precise RoI pooling): half-pixel centres everywhere.

    Args:
        num_classes: Channels of the logits.
        image_size: Height and width; None where they vary.
        backbone: Name of the encoder.
        backbone_weights: See `backbones.build`.
        stem: Of a ResNet: "deep" as in the authors' networks, "standard" for ImageNet
            weights of Keras. Other encoders have their own.
        filters: Channels of the decoder; the authors have 512.
        aux: Whether to return "aux_c4" too, scores from the encoder's stage of stride
            16, full size. The authors have none; OpenMMLab trains it at a weight of
            0.4.
    """
    image, padded = blocks.picture(image_size, backbones.normalization(backbone))
    options = {"stem": stem} if "stem" in backbones.list_options(backbone) else {}
    c = backbones.build(backbone, padded, weights=backbone_weights, **options)
    p = {5: pyramid_pooling(c["c5"], filters)}
    for level in (4, 3, 2):
        x = blocks.conv_bn_relu(c[f"c{level}"], filters, 1, name=f"lateral{level}")
        above = blocks.ResizeLike(name=f"above{level}")([p[level + 1], x])
        p[level] = layers.Add(name=f"merge{level}")([x, above])
    maps = [
        blocks.conv_bn_relu(p[level], filters, name=f"smooth{level}")
        for level in (2, 3, 4)
    ]
    maps.append(p[5])
    for i, level in enumerate((3, 4, 5), start=1):
        maps[i] = blocks.ResizeLike(name=f"to_fuse{level}")([maps[i], maps[0]])
    x = layers.Concatenate(name="fuse_concat")(maps)
    x = blocks.conv_bn_relu(x, filters, name="fuse")
    x = _classifier(num_classes, "classify")(x)
    logits = blocks.full_size_logits(x, padded, image)
    if not aux:
        return keras.Model(image, logits, name="upernet")
    x = blocks.conv_bn_relu(c["c4"], filters // 2, name="aux_c4")
    x = layers.Dropout(0.1, name="aux_c4_dropout")(x)
    x = _classifier(num_classes, "aux_c4_classify")(x)
    x = blocks.full_size_logits(x, padded, image, name="aux_c4")
    return keras.Model(image, {"logits": logits, "aux_c4": x}, name="upernet")


def pyramid_pooling(x, filters):
    """Adds means over ever smaller windows to a map ([Zhao17] section 3.2).

    The means are resized before they are convolved, as in the authors' code: batch norm
    then sees every window as often as the map has cells in it.
    """
    maps = [x]
    for bins in _BINS:
        name = f"pyramid{bins}"
        mean = blocks.AdaptiveAveragePool(bins, name=f"{name}_mean")(x)
        mean = blocks.ResizeLike(name=f"{name}_spread")([mean, x])
        maps.append(blocks.conv_bn_relu(mean, filters, 1, name=name))
    x = layers.Concatenate(name="pyramid_concat")(maps)
    return blocks.conv_bn_relu(x, filters, name="pyramid_project")


def _classifier(num_classes, name):
    return layers.Conv2D(
        num_classes,
        1,
        kernel_initializer=initializers.RandomNormal(stddev=0.01),
        dtype="float32",
        name=name,
    )
