"""DeepLab v3 (Chen et al., 2017): context by dilation, side by side or in a row."""

import keras
from keras import initializers, layers

from kerasseg import backbones, blocks, errors, models

_PAPER = "https://arxiv.org/abs/1706.05587"
_RATES = {8: (12, 24, 36), 16: (6, 12, 18), 32: (3, 6, 9)}


@models.register(
    paper=_PAPER,
    params=39_048_533,
    macs=49_617_942_976,
    output_stride=16,
    setting={"backbone": "resnet50"},
    test_options={"backbone": "resnet18_quarter", "multi_grid": (1, 2), "filters": 32},
)
def deeplab_v3(
    num_classes,
    image_size,
    *,
    backbone="resnet50",
    backbone_weights=None,
    output_stride=16,
    multi_grid=(1, 2, 4),
    filters=256,
):
    """Builds DeepLab v3 with a pyramid of rates ([Chen17] section 3.3).

    Args:
        num_classes: Channels of the logits.
        image_size: Height and width; None where they vary.
        backbone: Name of the encoder.
        backbone_weights: See `backbones.build`.
        output_stride: 8, 16 or 32; the rates of the pyramid follow it, the weights
            stay the same.
        multi_grid: Factors on the rates of the units of the encoder's last block;
            None for encoders that have none.
        filters: Channels of the pyramid; the paper has 256.
    """
    options = {} if multi_grid is None else {"multi_grid": multi_grid}
    if not set(options) <= set(backbones.list_options(backbone)):
        raise errors.UserError(
            f"Backbone '{backbone}' has no multi-grid: give multi_grid=None, or a "
            "ResNet, for example resnet50."
        )
    image, padded = blocks.picture(image_size, backbones.normalization(backbone))
    c = backbones.build(
        backbone,
        padded,
        output_stride=output_stride,
        weights=backbone_weights,
        **options,
    )
    x = aspp(c["c5"], _RATES[output_stride], filters)
    x = layers.Dropout(0.1, name="aspp_dropout")(x)
    logits = _classify(x, num_classes, padded, image, output_stride)
    return keras.Model(image, logits, name="deeplab_v3")


@models.register(
    paper=_PAPER,
    params=63_714_389,
    macs=76_992_613_568,
    output_stride=16,
    setting={"backbone": "resnet50"},
    test_options={"backbone": "resnet18_quarter", "multi_grid": (1, 2)},
)
def deeplab_v3_cascade(
    num_classes,
    image_size,
    *,
    backbone="resnet50",
    backbone_weights=None,
    output_stride=16,
    multi_grid=(1, 2, 1),
):
    """Builds DeepLab v3 with block4 copied three times ([Chen17] section 3.2).

    Args:
        num_classes: Channels of the logits.
        image_size: Height and width; None where they vary.
        backbone: Name of a ResNet.
        backbone_weights: See `backbones.build`; the copies start at random.
        output_stride: 8, 16 or 32.
        multi_grid: Factors on the rates of the units of block4 and of its copies.
    """
    image, padded = blocks.picture(image_size, backbones.normalization(backbone))
    c = backbones.build(
        backbone,
        padded,
        output_stride=output_stride,
        weights=backbone_weights,
        multi_grid=multi_grid,
        extra_blocks=3,
    )
    logits = _classify(c["c5"], num_classes, padded, image, output_stride)
    return keras.Model(image, logits, name="deeplab_v3_cascade")


def aspp(x, rates, filters, *, name="aspp"):
    """Pools context at several scales, side by side ([Chen17] figure 5)."""
    mean = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_mean")(x)
    mean = blocks.conv_bn_relu(mean, filters, 1, name=f"{name}_image")
    branches = [blocks.ResizeLike(name=f"{name}_spread")([mean, x])]
    branches.append(blocks.conv_bn_relu(x, filters, 1, name=f"{name}_point"))
    for i, rate in enumerate(rates, start=1):
        branch = blocks.conv_bn_relu(x, filters, rate=rate, name=f"{name}_atrous{i}")
        branches.append(branch)
    x = layers.Concatenate(name=f"{name}_concat")(branches)
    return blocks.conv_bn_relu(x, filters, 1, name=f"{name}_project")


def _classify(x, num_classes, padded, image, output_stride):
    x = layers.Conv2D(
        num_classes,
        1,
        kernel_initializer=initializers.RandomNormal(stddev=0.01),
        dtype="float32",
        name="classify",
    )(x)
    return blocks.full_size_logits(x, padded, image, stride=output_stride)
