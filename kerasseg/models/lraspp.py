"""Lite R-ASPP (Howard et al., 2019): the head of MobileNetV3 for segmentation."""

from collections.abc import Sequence

import keras
from keras import layers

from kerasseg import backbones, blocks, models


@models.register(
    paper="https://arxiv.org/abs/1905.02244",
    params=3_221_538,
    macs=2_081_283_536,
    output_stride=16,
    setting={"backbone": "mobilenet_v3_large", "ends": "first"},
    test_options={"backbone": "resnet18_quarter", "filters": 16},
)
def lraspp(
    num_classes: int,
    image_size: Sequence[int | None],
    *,
    backbone: str = "mobilenet_v3_large",
    backbone_weights: str | None = None,
    output_stride: int = 16,
    filters: int = 128,
    resize: str = "half_pixel",
) -> keras.Model:
    """Builds Lite R-ASPP ([Howard19] figure 10), with the defaults of torchvision.

    The features are scaled by gates from the mean of the whole image, as in
    torchvision; in the paper, from means of 49x49 cells. torchvision's encoder has
    `ends="first"`, `padding="symmetric"`, `first_rate="new"` and
    `normalization="torch"`.

    Args:
        num_classes: Number of classes.
        image_size: Height and width in pixels; None where they vary.
        backbone: Name of the backbone; see `backbones.list_backbones`.
        backbone_weights: See `backbones.build`.
        output_stride: 8, 16 or 32.
        filters: Channels of the head.
        resize: How features and logits are resized, one of `blocks.RESIZES`.

    Returns:
        A model from images to logits; see `models.build_model`.
    """
    image, padded = blocks.image_input(image_size, backbones.normalization(backbone))
    c = backbones.build(
        backbone, padded, output_stride=output_stride, weights=backbone_weights
    )
    x = blocks.conv_bn_relu(c["c5"], filters, 1, name="head")
    gate = layers.GlobalAveragePooling2D(keepdims=True, name="gate_mean")(c["c5"])
    gate = layers.Conv2D(
        filters, 1, use_bias=False, activation="sigmoid", name="gate_conv"
    )(gate)
    x = layers.Multiply(name="gate")([x, gate])
    to_low = blocks.ResizeLike(output_stride // 8, resize=resize, name="to_low")
    x = to_low([x, c["c3"]])
    x = layers.Conv2D(num_classes, 1, dtype="float32", name="classify_high")(x)
    low = layers.Conv2D(num_classes, 1, dtype="float32", name="classify_low")(c["c3"])
    x = layers.Add(dtype="float32", name="classify")([x, low])
    logits = blocks.full_size_logits(x, padded, image, stride=8, resize=resize)
    return keras.Model(image, logits, name="lraspp")
