"""ResNet (He et al., 2015, https://arxiv.org/abs/1512.03385) with DeepLab's changes.

It can have any output stride by dilation, and multi-grid and extra blocks as in DeepLab
v3 (https://arxiv.org/abs/1706.05587, sections 3.2 and 3.3). Layer names and the
position of the strides are those of keras.applications, whose weights can be loaded,
but convolutions have no bias.
"""

import dataclasses
import functools
from collections.abc import Sequence

import keras
from keras import layers

from kerasseg import backbones, blocks, errors

_EPSILON = 1.001e-5
_STEMS = ("standard", "deep", "narrow")
_STRIDED = ("1x1", "3x3")
_FIRST_RATES = (None, "old", "new")


@dataclasses.dataclass(frozen=True)
class _Variant:
    bottleneck: bool
    units: tuple[int, int, int, int]
    params: int
    filters: int = 64
    imagenet: str = ""  # Name in keras.applications of the model with weights.


VARIANTS = {
    "resnet18": _Variant(False, (2, 2, 2, 2), 11_176_512),
    # A quarter of the channels, for tests and experiments.
    "resnet18_quarter": _Variant(False, (2, 2, 2, 2), 702_096, filters=16),
    "resnet34": _Variant(False, (3, 4, 6, 3), 21_284_672),
    "resnet50": _Variant(True, (3, 4, 6, 3), 23_508_032, imagenet="ResNet50"),
    "resnet101": _Variant(True, (3, 4, 23, 3), 42_500_160, imagenet="ResNet101"),
    "resnet152": _Variant(True, (3, 8, 36, 3), 58_143_808, imagenet="ResNet152"),
}


def resnet(
    name: str,
    image,
    *,
    output_stride: int = 32,
    weights: str | None = None,
    stem: str = "standard",
    stride_on: str = "1x1",
    first_rate: str | None = None,
    dilate_second: bool = True,
    multi_grid: Sequence[int] | None = None,
    extra_blocks: int = 0,
):
    """Builds a ResNet.

    Args:
        name: Key of `VARIANTS`.
        image: Normalized image.
        output_stride: 8, 16 or 32.
        weights: None, or "imagenet" (downloaded by keras.applications).
        stem: "standard" (one 7x7 convolution), "deep" (three 3x3, "beta" in TF
            DeepLab) or "narrow" (three 3x3 with half the channels, as in ResNet-C,
            https://arxiv.org/abs/1812.01187, and in OpenMMLab).
        stride_on: Convolution of a bottleneck that has the stride: "1x1" as in the
            paper and in keras.applications, or "3x3" as in torchvision. Ignored by
            basic blocks.
        first_rate: Rate of the first 3x3 convolution of a stage whose stride is
            replaced by dilation: "new", that of the stage, or "old", that of the stage
            before, without `multi_grid`. None for "new" in bottlenecks and "old" in
            basic blocks. The features are those of the strided network with "new" if
            `stride_on` is "1x1", and with "old" if it is "3x3" (as in torchvision) and
            in basic blocks.
        dilate_second: Whether the second convolution of a basic block is dilated, too;
            not in OpenMMLab.
        multi_grid: Factor of the dilation rate of each unit of block4 and of the extra
            blocks; None for 1.
        extra_blocks: Number of copies of block4 after it, 0 to 3, each at twice the
            rate of the block before. "c5" is the output of the last one. They are
            initialized at random.

    Raises:
        UserError: Unknown stem, convolution or rate, wrong number of factors or blocks,
            or there are no ImageNet weights of this variant.
    """
    variant = VARIANTS[name]
    multi_grid = multi_grid or (1,) * variant.units[3]
    _check_choices(name, stem, stride_on, first_rate)
    _check(name, variant, weights, stem, multi_grid, extra_blocks)
    bottleneck = functools.partial(_bottleneck, stride_on=stride_on)
    is_old = first_rate == "old" or (first_rate is None and not variant.bottleneck)
    c = {"c1": _stem(image, variant.filters, stem)}
    x = layers.ZeroPadding2D(1, name="pool1_pad")(c["c1"])
    x = layers.MaxPooling2D(3, strides=2, name="pool1_pool")(x)
    done, rate = 4, 1
    for stage, units in enumerate((*variant.units, *[variant.units[3]] * extra_blocks)):
        original = 1 if stage == 0 else 2
        fits = done * original <= output_stride and stage < 4
        stride = original if fits else 1
        before, rate, done = rate, rate * original // stride, done * stride
        for unit in range(units):
            factor = multi_grid[unit] if stage >= 3 else 1
            x = (bottleneck if variant.bottleneck else _basic)(
                x,
                variant.filters * 2 ** min(stage, 3),
                stride=stride if unit == 0 else 1,
                rates=(
                    before if unit == 0 and is_old else rate * factor,
                    rate * factor if variant.bottleneck or dilate_second else 1,
                ),
                project=unit == 0
                and (stage in (1, 2, 3) or variant.bottleneck or stem == "deep")
                and stage < 4,
                name=f"conv{stage + 2}_block{unit + 1}",
            )
        c[f"c{min(stage + 2, 5)}"] = x
    if weights == "imagenet":
        constructor = getattr(keras.applications, variant.imagenet)
        donor = backbones.pretrained(constructor, include_top=False)
        take_weights(keras.Model(image, x), donor)
    return c


for _name, _variant in VARIANTS.items():
    backbones.register(
        name=_name,
        normalization="caffe" if _variant.imagenet else "tf",
        params=_variant.params,
    )(functools.partial(resnet, _name))


def _check_choices(name, stem, stride_on, first_rate):
    for option, value, choices in (
        ("stem", stem, _STEMS),
        ("stride_on", stride_on, _STRIDED),
        ("first_rate", first_rate, _FIRST_RATES),
    ):
        if value not in choices:
            raise errors.UserError(
                f"`{option}={value}` of '{name}' must be one of {choices}."
            )


def _check(name, variant, weights, stem, multi_grid, extra_blocks):
    if len(multi_grid) != variant.units[3]:
        raise errors.UserError(
            f"`multi_grid={multi_grid}` of '{name}' must have {variant.units[3]} "
            "factors, one for each unit of block4."
        )
    if not 0 <= extra_blocks <= 3:
        raise errors.UserError(
            f"`extra_blocks={extra_blocks}` of '{name}' must be from 0 to 3."
        )
    if weights == "imagenet" and (stem != "standard" or not variant.imagenet):
        raise errors.UserError(
            f"Keras has no ImageNet weights of '{name}' with `stem={stem}`. Set "
            "weights to None or a .keras file, or use resnet50 with `stem=standard`."
        )


def take_weights(encoder, donor):
    """Copies the weights of a ResNet of keras.applications by layer name.

    The bias of a convolution is subtracted from the moving mean of the batch
    normalization after it, which is equivalent. Layers that the donor does not have
    (extra blocks) keep their weights.

    Args:
        encoder: Model whose weights are set.
        donor: Model of keras.applications.
    """
    layers_by_name = {layer.name: layer for layer in donor.layers}
    for layer in encoder.layers:
        source = layers_by_name.get(layer.name)
        if source is None or not layer.weights:
            continue
        arrays = source.get_weights()
        if layer.name.endswith("_conv"):
            arrays = [backbones.inflate(arrays[0], layer.kernel.shape)]
        else:
            convolution = layers_by_name[layer.name.removesuffix("_bn") + "_conv"]
            arrays[2] = arrays[2] - convolution.get_weights()[1]
        layer.set_weights(arrays)


def last_stage(name: str, encoder: keras.Model) -> keras.Model:
    """Builds the last stage of a ResNet for regions of "c4", without its stride.

    Args:
        name: Key of `VARIANTS`.
        encoder: Model of a whole ResNet, whose weights and frozen layers are copied.

    Returns:
        A model of regions, `[batch, 7, 7, channels of "c4"]`, to maps `[batch, 7, 7,
        channels of "c5"]`. Layers are named as in the encoder.
    """
    variant = VARIANTS[name]
    filters = 8 * variant.filters
    channels = encoder.get_layer(f"conv4_block{variant.units[2]}_out").output.shape[-1]
    block = _basic
    if variant.bottleneck:
        block = functools.partial(_bottleneck, stride_on="1x1")
    rois = x = keras.Input((7, 7, channels), name="stage5_rois")
    for unit in range(variant.units[3]):
        x = block(
            x,
            filters,
            stride=1,
            rates=(1, 1),
            project=unit == 0,
            name=f"conv5_block{unit + 1}",
        )
    stage = keras.Model(rois, x, name="stage5")
    for layer in stage.layers:
        if layer.weights:
            source = encoder.get_layer(layer.name)
            layer.set_weights(source.get_weights())
            layer.trainable = source.trainable
            if isinstance(layer, blocks.BatchNormalization):
                layer.frozen_statistics = source.frozen_statistics
    return stage


def _stem(x, filters, stem):
    if stem == "standard":
        return _conv_bn(x, filters, 7, stride=2, name="conv1")
    if stem == "narrow":
        filters //= 2
    x = _conv_bn(x, filters, 3, stride=2, name="conv1_1")
    x = _conv_bn(x, filters, 3, name="conv1_2")
    return _conv_bn(x, 2 * filters, 3, name="conv1_3")


def _bottleneck(x, filters, *, stride, rates, project, stride_on, name):
    """Applies a bottleneck block; its 3x3 convolution has the first of `rates`."""
    first, second = (stride, 1) if stride_on == "1x1" else (1, stride)
    start = x
    if project:
        start = _conv_bn(x, 4 * filters, 1, stride=stride, relu=False, name=f"{name}_0")
    x = _conv_bn(x, filters, 1, stride=first, name=f"{name}_1")
    x = _conv_bn(x, filters, 3, stride=second, rate=rates[0], name=f"{name}_2")
    x = _conv_bn(x, 4 * filters, 1, relu=False, name=f"{name}_3")
    x = layers.Add(name=f"{name}_add")([start, x])
    return layers.ReLU(name=f"{name}_out")(x)


def _basic(x, filters, *, stride, rates, project, name):
    """Applies a basic block; each of `rates` is that of one convolution."""
    start = x
    if project:
        start = _conv_bn(x, filters, 1, stride=stride, relu=False, name=f"{name}_0")
    x = _conv_bn(x, filters, 3, stride=stride, rate=rates[0], name=f"{name}_1")
    x = _conv_bn(x, filters, 3, rate=rates[1], relu=False, name=f"{name}_2")
    x = layers.Add(name=f"{name}_add")([start, x])
    return layers.ReLU(name=f"{name}_out")(x)


def _conv_bn(x, filters, kernel_size, *, stride=1, rate=1, relu=True, name):
    """Applies convolution and batch norm, with equal padding on all sides."""
    if stride > 1 and kernel_size > 1:
        x = layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_pad")(x)
    x = blocks.Conv2D(
        filters,
        kernel_size,
        strides=stride,
        dilation_rate=rate,
        padding="same" if stride == 1 else "valid",
        use_bias=False,
        name=f"{name}_conv",
    )(x)
    x = blocks.BatchNormalization(epsilon=_EPSILON, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x) if relu else x
