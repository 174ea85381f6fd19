"""Modified aligned Xception (Chen et al., 2018), the encoder of DeepLab v3+.

Paper: https://arxiv.org/abs/1802.02611, section 3.2 and figure 4. What the paper does
not state is as in TF DeepLab: epsilons, the position of the ReLUs, and the padding,
which is equal on all sides, so that a window does not move with the size of the image.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

from keras import layers

from kerasseg import backbones, blocks, errors

_EPSILON = 1e-3


@dataclasses.dataclass(frozen=True)
class _Variant:
    """Filters and stride of each block of the entry flow, and units of the middle."""

    entry: tuple[tuple[int, int], ...]
    middle: int
    params: int


_ENTRY = ((128, 2), (256, 2), (728, 2))
_LONG_ENTRY = ((128, 2), (256, 1), (256, 2), (728, 1), (728, 2))
VARIANTS = {
    "xception41": _Variant(_ENTRY, 8, 24_920_560),
    "xception65": _Variant(_ENTRY, 16, 37_867_312),
    "xception71": _Variant(_LONG_ENTRY, 16, 40_289_736),
}


def xception(
    name: str,
    image,
    *,
    output_stride: int = 32,
    weights: str | None = None,
    multi_grid: Sequence[int] | None = None,
):
    """Builds a modified aligned Xception.

    Endpoints "c1" to "c4" are the second separable convolution of the block that halves
    the map next, without ReLU, because the decoder of DeepLab v3+ takes "c2" there.

    Args:
        name: Key of `VARIANTS`.
        image: Normalized image.
        output_stride: 8, 16 or 32.
        weights: None. There are no ImageNet weights of Keras; see docs/weights.md for
            those of TF DeepLab.
        multi_grid: Factor of the dilation rate of each of the last three convolutions;
            None for 1.

    Raises:
        UserError: ImageNet weights are asked for, or wrong number of factors.
    """
    variant = VARIANTS[name]
    multi_grid = multi_grid or (1, 1, 1)
    _check(name, weights, multi_grid)
    x = _conv_bn(image, 32, 3, stride=2, name="conv1_1")
    x = layers.ReLU(name="conv1_1_relu")(x)
    x = _conv_bn(x, 64, 3, name="conv1_2")
    x = layers.ReLU(name="conv1_2_relu")(x)
    c: dict[str, Any] = {}
    done, rate = 2, 1
    for block, filters, stride, units in _blocks(variant):
        actual = stride if done * stride <= output_stride else 1
        for unit in range(units):
            x, second = _unit(
                x,
                filters,
                stride=actual,
                rate=rate,
                project=units == 1,
                name=f"{block}_unit{unit + 1}",
            )
        if stride > 1:
            c[f"c{len(c) + 1}"] = second
        rate, done = rate * stride // actual, done * actual
    c["c5"] = _last_block(x, [rate * factor for factor in multi_grid])
    return c


for _name, _variant in VARIANTS.items():
    backbones.register(name=_name, normalization="tf", params=_variant.params)(
        functools.partial(xception, _name)
    )


def _check(name, weights, multi_grid):
    if weights is not None:
        raise errors.UserError(
            f"Keras has no ImageNet weights of '{name}'. Set weights to None or a "
            ".keras file."
        )
    if len(multi_grid) != 3:
        raise errors.UserError(
            f"`multi_grid={multi_grid}` of '{name}' must have 3 factors, one for each "
            "of the last convolutions."
        )


def _blocks(variant):
    """Yields the name, filters, stride and number of units of each block."""
    for i, (filters, stride) in enumerate(variant.entry, start=1):
        yield f"entry{i}", (filters,) * 3, stride, 1
    yield "middle1", (728,) * 3, 1, variant.middle
    yield "exit1", (728, 1024, 1024), 2, 1


def _unit(x, filters, *, stride, rate, project, name):
    """Applies three separable convolutions, the last with the stride.

    Returns:
        The result, and the output of the second convolution.
    """
    start, maps = x, []
    for i, each in enumerate(filters, start=1):
        x = layers.ReLU(name=f"{name}_sep{i}_relu")(x)
        last = stride if i == len(filters) else 1
        x = _separable(x, each, stride=last, rate=rate, name=f"{name}_sep{i}")
        maps.append(x)
    if project:
        start = _conv_bn(start, filters[-1], 1, stride=stride, name=f"{name}_shortcut")
    return layers.Add(name=f"{name}_add")([x, start]), maps[1]


def _last_block(x, rates):
    """Applies the last block, with ReLU after each convolution and no shortcut."""
    for i, (filters, rate) in enumerate(
        zip((1536, 1536, 2048), rates, strict=True), start=1
    ):
        x = _separable(x, filters, rate=rate, relu=True, name=f"exit2_unit1_sep{i}")
    return x


def _separable(x, filters, *, stride=1, rate=1, relu=False, name):
    """Applies a depthwise and a 1x1 convolution, each with batch normalization."""
    if stride > 1:
        x = layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
    x = layers.DepthwiseConv2D(  # See `blocks.separable_conv_bn_relu`.
        3,
        strides=stride,
        dilation_rate=rate,
        padding="same" if stride == 1 else "valid",
        use_bias=False,
        name=f"{name}_depthwise",
    )(x)
    x = blocks.BatchNormalization(epsilon=_EPSILON, name=f"{name}_depthwise_bn")(x)
    if relu:
        x = layers.ReLU(name=f"{name}_depthwise_relu")(x)
    x = _conv_bn(x, filters, 1, name=name)
    return layers.ReLU(name=f"{name}_out")(x) if relu else x


def _conv_bn(x, filters, kernel_size, *, stride=1, name):
    """Applies convolution and batch normalization, with equal padding on all sides."""
    if stride > 1 and kernel_size > 1:
        x = layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_pad")(x)
    x = blocks.Conv2D(
        filters,
        kernel_size,
        strides=stride,
        padding="same" if stride == 1 else "valid",
        use_bias=False,
        name=f"{name}_conv",
    )(x)
    return blocks.BatchNormalization(epsilon=_EPSILON, name=f"{name}_bn")(x)
