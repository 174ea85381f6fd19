"""FCN (Long et al., 2015) on a dilated ResNet, as in torchvision."""

from collections.abc import Sequence

import keras
from keras import layers

from kerasseg import backbones, blocks, models


@models.register(
    paper="https://arxiv.org/abs/1411.4038",
    params=32_957_013,
    macs=142_240_681_664,
    output_stride=8,
    setting={"backbone": "resnet50"},
    test_options={"backbone": "resnet18_quarter"},
)
def fcn_resnet(
    num_classes: int,
    image_size: Sequence[int | None],
    *,
    backbone: str = "resnet50",
    backbone_weights: str | None = None,
    output_stride: int = 8,
    aux: bool = False,
    convolutions: int = 1,
    concat_input: bool = False,
    resize: str = "half_pixel",
) -> keras.Model:
    """Builds FCN without skip connections ([Long15] section 4), with dilation.

    The head is that of torchvision's networks, whose encoder is a ResNet with
    `stride_on="3x3"`, `first_rate="old"` and `normalization="torch"`.

    Args:
        num_classes: Number of classes.
        image_size: Height and width in pixels; None where they vary.
        backbone: Name of the backbone; see `backbones.list_backbones`.
        backbone_weights: See `backbones.build`.
        output_stride: 8 (in torchvision), 16 or 32.
        aux: Whether to return "aux_c4" too, logits computed from "c4" at full size,
            trained with weight 0.5 in torchvision.
        convolutions: Number of 3x3 convolutions of the head; 2 in OpenMMLab. The
            auxiliary head has one.
        concat_input: Whether the head convolves its input and the result of its
            convolutions together, as in OpenMMLab.
        resize: How logits are resized, one of `blocks.RESIZES`.

    Returns:
        A model from images to logits; see `models.build_model`.
    """
    image, padded = blocks.image_input(image_size, backbones.normalization(backbone))
    c = backbones.build(
        backbone, padded, output_stride=output_stride, weights=backbone_weights
    )
    x = head(c["c5"], num_classes, convolutions, concat_input, name="head")
    logits = blocks.full_size_logits(
        x, padded, image, stride=output_stride, resize=resize
    )
    if not aux:
        return keras.Model(image, logits, name="fcn_resnet")
    stride = min(16, output_stride)
    x = aux_logits(c["c4"], num_classes, padded, image, stride, resize)
    return keras.Model(image, {"logits": logits, "aux_c4": x}, name="fcn_resnet")


def aux_logits(
    c, num_classes: int, padded, image, stride: int, resize: str, *, name="aux_c4"
):
    """Computes logits from a map at full size, as torchvision's networks do."""
    x = head(c, num_classes, name=name)
    return blocks.full_size_logits(
        x, padded, image, stride=stride, resize=resize, name=name
    )


def head(
    x, num_classes: int, convolutions: int = 1, concat_input: bool = False, *, name: str
):
    """Applies 3x3 convolutions to a quarter of the channels, and the classifier."""
    start, filters = x, x.shape[-1] // 4
    for i in range(1, convolutions + 1):
        x = blocks.conv_bn_relu(x, filters, name=name if i == 1 else f"{name}{i}")
    if concat_input:
        x = layers.Concatenate(name=f"{name}_concat")([start, x])
        x = blocks.conv_bn_relu(x, filters, name=f"{name}_fuse")
    x = layers.Dropout(0.1, name=f"{name}_dropout")(x)
    return layers.Conv2D(num_classes, 1, dtype="float32", name=f"{name}_classify")(x)
