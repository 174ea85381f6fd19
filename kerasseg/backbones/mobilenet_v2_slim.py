"""MobileNetV2 (Sandler et al., 2018) as in TF-Slim, the mobile encoder of TF DeepLab.

Paper: https://arxiv.org/abs/1801.04381, table 2. That of keras.applications has other
endpoints, a fixed padding for images with even sides, and numbers of filters that are
multiples of 8 at every width.
"""

from keras import layers

from kerasseg import backbones, blocks, errors

# Filters, units, stride of the first unit, and the endpoint of the last unit.
_STAGES = (
    (16, 1, 1, "c1"),
    (24, 2, 2, "c2"),
    (32, 3, 2, "c3"),
    (64, 4, 2, None),
    (96, 3, 1, "c4"),
    (160, 3, 2, None),
    (320, 1, 1, None),
)
_EXPANSION = 6
_EPSILON = 1e-3
_PADDINGS = ("fixed", "same")


@backbones.register(normalization="tf", params=1_811_712)
def mobilenet_v2_slim(
    image,
    *,
    output_stride: int = 32,
    weights: str | None = None,
    depth_multiplier: float = 1.0,
    padding: str = "fixed",
):
    """Builds MobileNetV2 up to its last block (320 channels, no activation).

    Endpoints "c1" to "c4" are the depthwise convolution, with ReLU6, of the last unit
    of a stride, because the decoder of TF DeepLab takes "c2" there.

    Args:
        image: Normalized image.
        output_stride: 8, 16 or 32.
        weights: None. For ImageNet weights of Keras, use "mobilenet_v2".
        depth_multiplier: Factor of the numbers of filters. They are not rounded to
            multiples of 8, as in TF DeepLab.
        padding: Of strided convolutions: "fixed" is equal on all sides, so that a
            window does not move with the size of the image; "same" is that of
            TensorFlow, which has no padding at the top and left of a map with even
            sides. Both are equal at image sides of `32 * n + 1`.

    Raises:
        UserError: ImageNet weights are asked for, or a value is out of range.
    """
    _check(weights, depth_multiplier, padding)
    filters = _scaled(32, depth_multiplier)
    x = image if padding == "same" else layers.ZeroPadding2D(1, name="stem_pad")(image)
    x = blocks.Conv2D(
        filters,
        3,
        strides=2,
        padding="same" if padding == "same" else "valid",
        use_bias=False,
        name="stem_conv",
    )(x)
    x = _bn_relu6(x, name="stem")
    c, done, rate, i = {}, 2, 1, 0
    for original, units, first_stride, endpoint in _STAGES:
        for unit in range(units):
            stride = first_stride if unit == 0 else 1
            actual = stride if done * stride <= output_stride else 1
            x, inner = _unit(
                x,
                _scaled(original, depth_multiplier),
                expansion=1 if i == 0 else _EXPANSION,
                stride=actual,
                rate=rate,
                padding=padding,
                name=f"block{i}",
            )
            rate, done, i = rate * stride // actual, done * actual, i + 1
        if endpoint:
            c[endpoint] = inner
    return {**c, "c5": x}


def _check(weights, depth_multiplier, padding):
    if weights is not None:
        raise errors.UserError(
            "Keras has no ImageNet weights of 'mobilenet_v2_slim'. Set weights to None "
            "or a .keras file, or use mobilenet_v2."
        )
    if not 0 < depth_multiplier <= 4:
        raise errors.UserError(
            f"`depth_multiplier={depth_multiplier}` of 'mobilenet_v2_slim' must be "
            "above 0 and at most 4."
        )
    if padding not in _PADDINGS:
        raise errors.UserError(
            f"`padding={padding}` of 'mobilenet_v2_slim' must be one of {_PADDINGS}."
        )


def _scaled(filters, depth_multiplier):
    return max(1, int(filters * depth_multiplier + 0.5))


def _unit(x, filters, *, expansion, stride, rate, padding, name):
    """Applies an inverted residual block.

    Returns:
        The result, and the output of the depthwise convolution.
    """
    start = x
    if expansion > 1:
        wide = _multiple_of_8(x.shape[-1] * expansion)
        x = blocks.Conv2D(wide, 1, use_bias=False, name=f"{name}_expand_conv")(x)
        x = _bn_relu6(x, name=f"{name}_expand")
    is_padded = stride > 1 and padding == "fixed"
    if is_padded:
        x = layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
    x = layers.DepthwiseConv2D(  # See `blocks.separable_conv_bn_relu`.
        3,
        strides=stride,
        dilation_rate=rate,
        padding="valid" if is_padded else "same",
        use_bias=False,
        name=f"{name}_depthwise",
    )(x)
    inner = _bn_relu6(x, name=f"{name}_depthwise")
    x = blocks.Conv2D(filters, 1, use_bias=False, name=f"{name}_project_conv")(inner)
    x = blocks.BatchNormalization(epsilon=_EPSILON, name=f"{name}_project_bn")(x)
    if stride == 1 and start.shape[-1] == filters:
        x = layers.Add(name=f"{name}_add")([start, x])
    return x, inner


def _multiple_of_8(filters):
    """Rounds to a multiple of 8, by at most 10% downwards, as TF-Slim does."""
    rounded = max(8, (filters + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * filters else rounded


def _bn_relu6(x, *, name):
    x = blocks.BatchNormalization(epsilon=_EPSILON, name=f"{name}_bn")(x)
    return layers.ReLU(max_value=6, name=f"{name}_relu6")(x)
