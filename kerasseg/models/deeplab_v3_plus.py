"""DeepLab v3+ (Chen et al., 2018): DeepLab v3 with a decoder."""

from collections.abc import Callable, Sequence

import keras
from keras import initializers, layers

from kerasseg import backbones, blocks, models
from kerasseg.models import fcn_resnet


@models.register(
    paper="https://arxiv.org/abs/1802.02611",
    params=26_696_133,
    macs=38_732_985_712,
    output_stride=16,
    setting={"backbone": "resnet50", "output_stride": 16},
    test_options={"backbone": "resnet18_quarter", "filters": 8},
)
def deeplab_v3_plus(
    num_classes: int,
    image_size: Sequence[int | None],
    *,
    backbone: str = "resnet50",
    backbone_weights: str | None = None,
    output_stride: int = 16,
    filters: int = 256,
    skip_filters: int = 48,
    separable: bool = True,
    rates: Sequence[int] = (6, 12, 18),
    refine: Sequence[int] = (3, 3),
    project_size: int = 1,
    aux: bool = False,
    resize: str = "anchored",
    aspp_refine: bool = False,
    normalize_depthwise: bool = True,
) -> keras.Model:
    """Builds DeepLab v3+ ([Chen18] figure 2).

    Args:
        num_classes: Number of classes.
        image_size: Height and width in pixels; None where they vary.
        backbone: Name of the backbone; see `backbones.list_backbones`.
        backbone_weights: See `backbones.build`.
        output_stride: 8, 16 or 32; the weights have the same shapes.
        filters: Channels of the pyramid and of the decoder; 256 in the paper.
        skip_filters: Channels of "c2" in the decoder; 48 in the paper.
        separable: Whether 3x3 convolutions are depthwise separable.
        rates: Rates of the pyramid's 3x3 convolutions at output stride 16. They are
            doubled at 8 and halved at 32. Empty for the 1x1 convolution alone. (12, 24,
            36) in segmentation_models.pytorch.
        refine: Kernel size of each convolution after the concatenation with the skip
            connection; (1,) in KerasHub, and (3,) in segmentation_models.pytorch.
        project_size: Kernel size of the convolution after the pyramid; 3 in OpenMMLab.
        aux: Whether to return "aux_c4" too, logits computed from "c4" at full size. The
            paper has none; OpenMMLab trains it with weight 0.4.
        resize: How feature maps and logits are resized, one of `blocks.RESIZES`.
        aspp_refine: Whether a 3x3 convolution follows the pyramid, as in
            segmentation_models.pytorch.
        normalize_depthwise: Whether batch normalization and ReLU follow the depthwise
            part of a separable convolution, too.

    Returns:
        A model from images to logits; see `models.build_model`.
    """
    image, padded = blocks.image_input(image_size, backbones.normalization(backbone))
    c = backbones.build(
        backbone, padded, output_stride=output_stride, weights=backbone_weights
    )
    scaled = [max(1, rate * 16 // output_stride) for rate in rates]
    conv: Callable = blocks.separable_conv_bn_relu
    if not separable:
        conv = blocks.conv_bn_relu
    elif not normalize_depthwise:
        conv = _plain_separable
    x = aspp(c["c5"], scaled, filters, conv, project_size)
    x = layers.Dropout(0.1, name="aspp_dropout")(x)
    if aspp_refine:
        x = conv(x, filters, name="aspp_refine")
    skip = blocks.conv_bn_relu(c["c2"], skip_filters, 1, name="skip")
    to_skip = blocks.ResizeLike(output_stride // 4, resize=resize, name="to_skip")
    x = to_skip([x, skip])
    x = layers.Concatenate(name="merge")([x, skip])
    for i, kernel_size in enumerate(refine, start=1):
        x = conv(x, filters, kernel_size, name=f"refine{i}")
    x = layers.Conv2D(
        num_classes,
        1,
        kernel_initializer=initializers.RandomNormal(stddev=0.01),
        dtype="float32",
        name="classify",
    )(x)
    logits = blocks.full_size_logits(x, padded, image, stride=4, resize=resize)
    if not aux:
        return keras.Model(image, logits, name="deeplab_v3_plus")
    x = fcn_resnet.aux_logits(
        c["c4"], num_classes, padded, image, output_stride, resize
    )
    return keras.Model(image, {"logits": logits, "aux_c4": x}, name="deeplab_v3_plus")


def _plain_separable(x, filters, kernel_size=3, *, rate=1, name):
    """Applies a depthwise and a 1x1 convolution, then batch norm and ReLU."""
    x = layers.DepthwiseConv2D(
        kernel_size,
        dilation_rate=rate,
        padding="same",
        use_bias=False,
        name=f"{name}_depthwise",
    )(x)
    return blocks.conv_bn_relu(x, filters, 1, name=name)


def aspp(x, rates, filters: int, conv, project_size: int = 1, *, name: str = "aspp"):
    """Applies atrous spatial pyramid pooling (DeepLab v3, figure 5)."""
    mean = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_mean")(x)
    mean = blocks.conv_bn_relu(mean, filters, 1, name=f"{name}_image")
    branches = [blocks.ResizeLike(name=f"{name}_spread")([mean, x])]
    branches.append(blocks.conv_bn_relu(x, filters, 1, name=f"{name}_point"))
    for i, rate in enumerate(rates, start=1):
        branches.append(conv(x, filters, rate=rate, name=f"{name}_atrous{i}"))
    x = layers.Concatenate(name=f"{name}_concat")(branches)
    return blocks.conv_bn_relu(x, filters, project_size, name=f"{name}_project")
