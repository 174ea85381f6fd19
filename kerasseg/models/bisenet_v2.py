"""BiSeNetV2 (Yu et al., 2020): a wide detail branch and a deep semantic branch.

The authors released no code. Details that the paper does not state, and the number of
parameters, are those of the code of CoinCheung/BiSeNet. Where paper and code differ:

- A ReLU after the last depthwise convolution of the gather-and-expansion layer, batch
  norm and ReLU after the last convolution of the context block, ReLU after that of the
  aggregation layer: figures 4 to 6 of the paper show none. They are in that code and in
  OpenMMLab's, which reach the scores of the paper, and are used here.
- The aggregation layer resizes bilinearly, as in figure 6 of the paper; that code uses
  the nearest neighbor (`upsampling`).
"""

from collections.abc import Sequence

import keras
from keras import layers

from kerasseg import blocks, errors, models

_EXPANSION = 6
_EPSILON = 1e-5


@models.register(
    paper="https://arxiv.org/abs/2004.02147",
    params=3_358_627,
    macs=12_634_702_816,
    output_stride=32,
    setting={"num_classes": 19},
    test_options={"filters": 32},
)
def bisenet_v2(
    num_classes: int,
    image_size: Sequence[int | None],
    *,
    filters: int = 64,
    aux: bool = False,
    upsampling: str = "bilinear",
    point_bias: bool = False,
) -> keras.Model:
    """Builds BiSeNetV2 ([Yu20] table 1 and figure 3).

    Args:
        num_classes: Number of classes.
        image_size: Height and width in pixels; None where they vary.
        filters: Channels of the first convolution of the detail branch, a multiple of
            8, which scales those of all others; 64 in the paper.
        aux: Whether to return "aux_stage2" to "aux_stage5" too, the logits of the
            stages of the semantic branch at full size, for the booster training of
            section 5.2.
        upsampling: Interpolation of the aggregation layer: "bilinear" as in the paper,
            or "nearest".
        point_bias: Whether the 1x1 convolutions of the aggregation layer have biases,
            as in OpenMMLab; figure 6 of the paper does not say.

    Returns:
        A model from images to logits; see `models.build_model`.
    """
    if filters % 8:
        raise errors.UserError(
            f"`filters={filters}` of 'bisenet_v2' must be a multiple of 8, because the "
            "semantic branch starts with 1/8 of them."
        )
    if upsampling not in ("bilinear", "nearest"):
        raise errors.UserError(
            f"`upsampling={upsampling}` of 'bisenet_v2' must be 'bilinear' or "
            "'nearest'."
        )
    image, padded = blocks.image_input(image_size, "tf")
    detail = detail_branch(padded, filters)
    stages = semantic_branch(padded, filters)
    x = context_embedding(stages["stage5"], name="context")
    x = guided_aggregation(detail, x, upsampling, point_bias, name="guide")
    x = _head(x, 16 * filters, name="head")
    x = _classifier(num_classes, "classify")(x)
    logits = blocks.full_size_logits(x, padded, image)
    if not aux:
        return keras.Model(image, logits, name="bisenet_v2")
    outputs = {"logits": logits}
    for stride, (stage, x) in zip((4, 8, 16, 32), stages.items(), strict=True):
        name = f"aux_{stage}"
        x = _head(x, 2 * filters, name=name)
        x = blocks.UpSampling2D(2, name=f"{name}_double")(x)
        x = _conv_bn(x, stride**2, name=f"{name}_refine")
        x = _classifier(num_classes, f"{name}_classify")(x)
        outputs[name] = blocks.full_size_logits(x, padded, image, name=name)
    return keras.Model(image, outputs, name="bisenet_v2")


def detail_branch(x, filters: int):
    """Builds the detail branch, up to stride 8 ([Yu20] section 4.1)."""
    for stage, units, width in ((1, 2, 1), (2, 3, 1), (3, 3, 2)):
        for unit in range(1, units + 1):
            stride = 2 if unit == 1 else 1
            name = f"detail{stage}_{unit}"
            x = _conv_bn(x, width * filters, stride=stride, name=name)
    return x


def semantic_branch(x, filters: int):
    """Builds the semantic branch, with few channels ([Yu20] section 4.2).

    Returns:
        Dict of "stage2" to "stage5", at strides 4 to 32.
    """
    x = stem(x, filters // 4, name="stem")
    stages = {"stage2": x}
    for stage, units in ((3, 2), (4, 2), (5, 4)):
        x = gather_and_expand_down(x, 2 * x.shape[-1], name=f"stage{stage}_1")
        for unit in range(2, units + 1):
            x = gather_and_expand(x, name=f"stage{stage}_{unit}")
        stages[f"stage{stage}"] = x
    return stages


def stem(x, filters: int, *, name: str):
    """Downsamples to stride 4 in two parallel branches ([Yu20] figure 4a)."""
    x = _conv_bn(x, filters, stride=2, name=f"{name}_start")
    left = _conv_bn(x, filters // 2, 1, name=f"{name}_left1")
    left = _conv_bn(left, filters, stride=2, name=f"{name}_left2")
    # Zero padding does not change the maxima after a ReLU.
    right = layers.ZeroPadding2D(1, name=f"{name}_right_pad")(x)
    right = layers.MaxPooling2D(3, strides=2, name=f"{name}_right")(right)
    x = layers.Concatenate(name=f"{name}_concat")([left, right])
    return _conv_bn(x, filters, name=f"{name}_fuse")


def gather_and_expand(x, *, name: str):
    """Applies a gather-and-expansion layer ([Yu20] figure 5b)."""
    start, filters = x, x.shape[-1]
    x = _conv_bn(x, filters, name=f"{name}_gather")
    x = _depthwise_bn(x, multiplier=_EXPANSION, name=f"{name}_expand")
    x = layers.ReLU(name=f"{name}_expand_relu")(x)
    x = _conv_bn(x, filters, 1, relu=False, name=f"{name}_project")
    x = layers.Add(name=f"{name}_add")([start, x])
    return layers.ReLU(name=f"{name}_out")(x)


def gather_and_expand_down(x, filters: int, *, name: str):
    """Applies a gather-and-expansion layer of stride 2 ([Yu20] figure 5c)."""
    start = _depthwise_bn(x, stride=2, name=f"{name}_short")
    start = _conv_bn(start, filters, 1, relu=False, name=f"{name}_short_project")
    x = _conv_bn(x, x.shape[-1], name=f"{name}_gather")
    x = _depthwise_bn(x, multiplier=_EXPANSION, stride=2, name=f"{name}_expand")
    x = _depthwise_bn(x, name=f"{name}_depthwise")
    x = layers.ReLU(name=f"{name}_depthwise_relu")(x)
    x = _conv_bn(x, filters, 1, relu=False, name=f"{name}_project")
    x = layers.Add(name=f"{name}_add")([start, x])
    return layers.ReLU(name=f"{name}_out")(x)


def context_embedding(x, *, name: str):
    """Applies the context embedding block ([Yu20] figure 4b)."""
    filters = x.shape[-1]
    mean = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_mean")(x)
    mean = blocks.BatchNormalization(
        momentum=0.9, epsilon=_EPSILON, name=f"{name}_mean_bn"
    )(mean)
    mean = _conv_bn(mean, filters, 1, name=f"{name}_embed")
    x = layers.Add(name=f"{name}_add")([x, mean])
    return _conv_bn(x, filters, name=f"{name}_last")


def guided_aggregation(
    detail, semantic, upsampling: str = "bilinear", bias: bool = False, *, name: str
):
    """Applies bilateral guided aggregation ([Yu20] figure 6)."""
    filters = detail.shape[-1]
    fine = _depthwise_bn(detail, name=f"{name}_fine")
    fine = _point(fine, filters, bias, name=f"{name}_fine_point")
    coarse = _conv_bn(detail, filters, stride=2, relu=False, name=f"{name}_coarse")
    coarse = layers.ZeroPadding2D(1, name=f"{name}_coarse_pool_pad")(coarse)
    coarse = layers.AveragePooling2D(3, strides=2, name=f"{name}_coarse_pool")(coarse)
    fine_gate = _conv_bn(semantic, filters, relu=False, name=f"{name}_fine_sense")
    fine_gate = _up(fine_gate, fine, upsampling, name=f"{name}_fine_up")
    coarse_gate = _depthwise_bn(semantic, name=f"{name}_coarse_sense")
    coarse_gate = _point(coarse_gate, filters, bias, name=f"{name}_coarse_point")
    gated = []
    for scale, x, gate in (("fine", fine, fine_gate), ("coarse", coarse, coarse_gate)):
        gate = layers.Activation("sigmoid", name=f"{name}_{scale}_gate")(gate)
        gated.append(layers.Multiply(name=f"{name}_{scale}_gated")([x, gate]))
    gated[1] = _up(gated[1], fine, upsampling, name=f"{name}_coarse_up")
    x = layers.Add(name=f"{name}_sum")(gated)
    return _conv_bn(x, filters, name=f"{name}_last")


def _up(x, like, upsampling, *, name):
    """Resizes a map of a quarter of the size."""
    if upsampling == "bilinear":
        return blocks.ResizeLike(name=name)([x, like])
    x = blocks.UpSampling2D(4, name=f"{name}_repeat")(x)
    return blocks.CropLike(name=name)([x, like])


def _head(x, filters, *, name):
    x = _conv_bn(x, filters, name=name)
    return layers.Dropout(0.1, name=f"{name}_dropout")(x)


def _classifier(num_classes, name):
    return layers.Conv2D(num_classes, 1, dtype="float32", name=name)


def _point(x, filters, bias, *, name):
    return layers.Conv2D(filters, 1, use_bias=bias, name=name)(x)


def _conv_bn(x, filters, kernel_size=3, *, stride=1, relu=True, name):
    """Applies convolution and batch norm, with equal padding on all sides."""
    if stride > 1:
        x = layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_pad")(x)
    x = layers.Conv2D(
        filters,
        kernel_size,
        strides=stride,
        padding="same" if stride == 1 else "valid",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    x = blocks.BatchNormalization(momentum=0.9, epsilon=_EPSILON, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x) if relu else x


def _depthwise_bn(x, *, multiplier=1, stride=1, name):
    if stride > 1:
        x = layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
    x = layers.DepthwiseConv2D(
        3,
        strides=stride,
        depth_multiplier=multiplier,
        padding="same" if stride == 1 else "valid",
        use_bias=False,
        name=f"{name}_depthwise",
    )(x)
    return blocks.BatchNormalization(momentum=0.9, epsilon=_EPSILON, name=f"{name}_bn")(
        x
    )
