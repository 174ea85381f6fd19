"""DeepLab v3 (Chen et al., 2017): atrous convolution in parallel or in cascade."""

from collections.abc import Sequence

import keras
from keras import initializers, layers

from kerasseg import backbones, blocks, errors, models
from kerasseg.models import fcn_resnet

_AUX_FROM = ("c3", "c4")
_PAPER = "https://arxiv.org/abs/1706.05587"


@models.register(
    paper=_PAPER,
    params=39_048_533,
    macs=49_617_942_976,
    output_stride=16,
    setting={"backbone": "resnet50"},
    test_options={"backbone": "resnet18_quarter", "multi_grid": (1, 2), "filters": 32},
)
def deeplab_v3(
    num_classes: int,
    image_size: Sequence[int | None],
    *,
    backbone: str = "resnet50",
    backbone_weights: str | None = None,
    output_stride: int = 16,
    multi_grid: Sequence[int] | None = (1, 2, 4),
    filters: int = 256,
    rates: Sequence[int] = (6, 12, 18),
    image_pooling: bool = True,
    project_size: int = 1,
    separable: bool = False,
    refine: bool = False,
    aux: bool = False,
    aux_from: str = "c4",
    resize: str = "anchored",
) -> keras.Model:
    """Builds DeepLab v3 with atrous spatial pyramid pooling ([Chen17] section 3.3).

    Args:
        num_classes: Number of classes.
        image_size: Height and width in pixels; None where they vary.
        backbone: Name of the backbone; see `backbones.list_backbones`.
        backbone_weights: See `backbones.build`.
        output_stride: 8, 16 or 32; the weights have the same shapes.
        multi_grid: Factors of the rates of the units of the last block of a ResNet;
            None for other backbones.
        filters: Channels of the pyramid; 256 in the paper.
        rates: Rates of the pyramid's 3x3 convolutions at output stride 16. They are
            doubled at 8 and halved at 32. Empty for the 1x1 convolution alone.
        image_pooling: Whether the pyramid has the mean of the image's features.
        separable: Whether the pyramid's 3x3 convolutions are depthwise separable, as
            in TF DeepLab; not so in the paper.
        project_size: Kernel size of the convolution after the pyramid; 3 in OpenMMLab.
        refine: Whether to add a 3x3 convolution between the pyramid and the
            classifier, as torchvision does; the paper has none.
        aux: Whether to return "aux_c4" too, logits computed from "c4" at full size. The
            paper has none; torchvision trains it with weight 0.5.
        aux_from: Endpoint of the auxiliary logits, which are named after it: "c4", or
            "c3" as in torchvision's network with MobileNetV3.
        resize: How logits are resized, one of `blocks.RESIZES`; "half_pixel" in
            torchvision.

    Returns:
        A model from images to logits; see `models.build_model`.
    """
    options = {} if multi_grid is None else {"multi_grid": multi_grid}
    if not set(options) <= set(backbones.list_options(backbone)):
        raise errors.UserError(
            f"Backbone '{backbone}' has no multi-grid. Set `multi_grid=None`, or "
            "choose a ResNet such as resnet50."
        )
    if aux_from not in _AUX_FROM:
        raise errors.UserError(f"`aux_from={aux_from}` must be one of {_AUX_FROM}.")
    image, padded = blocks.image_input(image_size, backbones.normalization(backbone))
    c = backbones.build(
        backbone,
        padded,
        output_stride=output_stride,
        weights=backbone_weights,
        **options,
    )
    scaled = [max(1, rate * 16 // output_stride) for rate in rates]
    x = aspp(
        c["c5"],
        scaled,
        filters,
        project_size,
        image_pooling=image_pooling,
        separable=separable,
    )
    x = layers.Dropout(0.1, name="aspp_dropout")(x)
    if refine:
        x = blocks.conv_bn_relu(x, filters, name="refine")
    x = _classify(x, num_classes)
    logits = blocks.full_size_logits(
        x, padded, image, stride=output_stride, resize=resize
    )
    if not aux:
        return keras.Model(image, logits, name="deeplab_v3")
    name = f"aux_{aux_from}"
    stride = min(2 ** int(aux_from[1]), output_stride)
    x = fcn_resnet.aux_logits(
        c[aux_from], num_classes, padded, image, stride, resize, name=name
    )
    return keras.Model(image, {"logits": logits, name: x}, name="deeplab_v3")


@models.register(
    paper=_PAPER,
    params=63_714_389,
    macs=76_992_613_568,
    output_stride=16,
    setting={"backbone": "resnet50"},
    test_options={"backbone": "resnet18_quarter", "multi_grid": (1, 2)},
)
def deeplab_v3_cascade(
    num_classes: int,
    image_size: Sequence[int | None],
    *,
    backbone: str = "resnet50",
    backbone_weights: str | None = None,
    output_stride: int = 16,
    multi_grid: Sequence[int] = (1, 2, 1),
) -> keras.Model:
    """Builds DeepLab v3 with three copies of block4 in cascade ([Chen17] section 3.2).

    Args:
        num_classes: Number of classes.
        image_size: Height and width in pixels; None where they vary.
        backbone: Name of a ResNet.
        backbone_weights: See `backbones.build`. The copies are initialized at random.
        output_stride: 8, 16 or 32.
        multi_grid: Factors of the rates of the units of block4 and of its copies.

    Returns:
        A model from images to logits; see `models.build_model`.
    """
    image, padded = blocks.image_input(image_size, backbones.normalization(backbone))
    c = backbones.build(
        backbone,
        padded,
        output_stride=output_stride,
        weights=backbone_weights,
        multi_grid=multi_grid,
        extra_blocks=3,
    )
    x = _classify(c["c5"], num_classes)
    logits = blocks.full_size_logits(x, padded, image, stride=output_stride)
    return keras.Model(image, logits, name="deeplab_v3_cascade")


def aspp(
    x,
    rates,
    filters: int,
    project_size: int = 1,
    *,
    image_pooling: bool = True,
    separable: bool = False,
    name: str = "aspp",
):
    """Applies atrous spatial pyramid pooling ([Chen17] figure 5)."""
    conv = blocks.separable_conv_bn_relu if separable else blocks.conv_bn_relu
    branches = []
    if image_pooling:
        mean = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_mean")(x)
        mean = blocks.conv_bn_relu(mean, filters, 1, name=f"{name}_image")
        branches.append(blocks.ResizeLike(name=f"{name}_spread")([mean, x]))
    branches.append(blocks.conv_bn_relu(x, filters, 1, name=f"{name}_point"))
    for i, rate in enumerate(rates, start=1):
        branches.append(conv(x, filters, rate=rate, name=f"{name}_atrous{i}"))
    x = layers.Concatenate(name=f"{name}_concat")(branches)
    return blocks.conv_bn_relu(x, filters, project_size, name=f"{name}_project")


def _classify(x, num_classes):
    return layers.Conv2D(
        num_classes,
        1,
        kernel_initializer=initializers.RandomNormal(stddev=0.01),
        dtype="float32",
        name="classify",
    )(x)
