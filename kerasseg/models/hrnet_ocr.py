"""HRNetV2 (Wang et al., 2019) with OCR, object-contextual representations (Yuan, 2019).

The layers are those of the authors' code (HRNet/HRNet-Semantic-Segmentation). That code
resizes with aligned corners; here cell `i` of a coarse map is placed at cell
`i * stride`, which is equal at sizes of `32 * n + 1` pixels and does not stretch at
others.
"""

import functools
from collections.abc import Sequence

import keras
from keras import layers, ops

from kerasseg import blocks, errors, models

_BATCH_NORM = {"momentum": 0.9, "epsilon": 1e-5}  # The authors' momentum of 0.1.
_CONTEXT = 512  # Channels of the pixel and region representations.


@models.register(
    paper="https://arxiv.org/abs/1909.11065",
    params=70_372_678,
    macs=166_937_695_280,
    output_stride=32,
    setting={"num_classes": 19},
    test_options={"width": 8, "units": 1, "modules": (1, 1, 1)},
)
def hrnet_ocr(
    num_classes: int,
    image_size: Sequence[int | None],
    *,
    width: int = 48,
    units: int = 4,
    modules: Sequence[int] = (1, 4, 3),
    ocr: bool = True,
    aux: bool = False,
    resize: str = "anchored",
    enlarge_first: bool = False,
) -> keras.Model:
    """Builds HRNetV2 + OCR ([Yuan19] section 3.3; HRNet: arXiv 1908.07919).

    Args:
        num_classes: Number of classes.
        image_size: Height and width in pixels; None where they vary.
        width: Channels of the branch of the highest resolution: 48, 32 or 18 in the
            papers. The others have 2, 4 and 8 times as many.
        units: Number of residual units of the first stage, and of each branch of a
            module.
        modules: Number of modules of the stages with two, three and four branches.
        ocr: Whether to add OCR. Otherwise the model is HRNetV2, whose logits come from
            the layers that score the regions in OCR.
        aux: Whether to return "aux_regions" too, the logits of the soft object regions
            at full size, trained with weight 0.4 in the paper.
        resize: How feature maps and logits are resized, one of `blocks.RESIZES`;
            "corners" in the authors' code.
        enlarge_first: Whether a map that is added to a finer one is first enlarged by
            the ratio of their strides, with half-pixel centers, and then resized, as in
            OpenMMLab. It differs at sizes that are not a multiple of 32.

    Returns:
        A model from images to logits; see `models.build_model`.
    """
    if aux and not ocr:
        raise errors.UserError("`aux=True` of 'hrnet_ocr' needs `ocr=True`.")
    image, padded = blocks.image_input(image_size, "torch")
    to_full_size = functools.partial(
        blocks.full_size_logits, padded=padded, image=image, stride=4, resize=resize
    )
    x = high_resolution_net(padded, width, units, modules, resize, enlarge_first)
    regions = _conv_bn(x, x.shape[-1], 1, bias=True, name="regions")
    regions = layers.Conv2D(num_classes, 1, dtype="float32", name="regions_classify")(
        regions
    )
    if not ocr:
        logits = to_full_size(regions)
        return keras.Model(image, logits, name="hrnet_ocr")
    x = object_context(x, regions, name="context")
    x = layers.Conv2D(num_classes, 1, dtype="float32", name="classify")(x)
    logits = to_full_size(x)
    if not aux:
        return keras.Model(image, logits, name="hrnet_ocr")
    regions = to_full_size(regions, name="aux_regions")
    outputs = {"logits": logits, "aux_regions": regions}
    return keras.Model(image, outputs, name="hrnet_ocr")


def high_resolution_net(
    x, width, units, modules, resize: str = "anchored", enlarge_first: bool = False
):
    """Builds the encoder, of stride 4 with `15 * width` channels."""
    x = _conv_bn(x, 64, stride=2, name="stem1")
    x = _conv_bn(x, 64, stride=2, name="stem2")
    for unit in range(1, units + 1):
        x = _bottleneck(x, name=f"stage1_{unit}")
    branches = [x]
    for stage, repeats in enumerate(modules, start=2):
        branches = _transition(branches, width, name=f"transition{stage - 1}")
        for module in range(1, repeats + 1):
            name = f"stage{stage}_module{module}"
            for i, x in enumerate(branches):
                for unit in range(1, units + 1):
                    x = _basic(x, name=f"{name}_branch{i + 1}_{unit}")
                branches[i] = x
            branches = _exchange(branches, resize, enlarge_first, name=name)
    for i, x in enumerate(branches[1:], start=1):
        up = blocks.ResizeLike(2**i, resize=resize, name=f"merge_up{i + 1}")
        branches[i] = up([x, branches[0]])
    return layers.Concatenate(name="merge")(branches)


def object_context(x, regions, *, name: str):
    """Adds the object-contextual representation of each pixel ([Yuan19] figure 3)."""
    pixels = _conv_bn(x, _CONTEXT, bias=True, name=f"{name}_pixels")
    objects = GatherRegions(name=f"{name}_gather")([regions, pixels])
    key_channels = _CONTEXT // 2
    query, key = pixels, objects
    for i in (1, 2):
        query = _conv_bn(query, key_channels, 1, name=f"{name}_query{i}")
        key = _conv_bn(key, key_channels, 1, name=f"{name}_key{i}")
    value = _conv_bn(objects, key_channels, 1, name=f"{name}_value")
    context = RegionAttention(name=f"{name}_attend")([query, key, value])
    context = _conv_bn(context, _CONTEXT, 1, name=f"{name}_widen")
    x = layers.Concatenate(name=f"{name}_concat")([context, pixels])
    x = _conv_bn(x, _CONTEXT, 1, name=f"{name}_fuse")
    return layers.SpatialDropout2D(0.05, name=f"{name}_dropout")(x)


@keras.saving.register_keras_serializable("kerasseg")
class GatherRegions(layers.Layer):
    """Averages pixel representations over each soft region ([Yuan19] equation 2).

    Its inputs are `[regions, pixels]`: scores of the regions, and a feature map of the
    same size. The weights of a region are a softmax of its scores over all cells, in at
    least float32, because they can be too small for float16.
    """

    def __init__(self, **options):
        super().__init__(autocast=False, **options)

    def call(self, inputs):
        """Returns region representations, `[batch, regions, 1, channels]`."""
        dtype = _at_least_float32(inputs[1].dtype)
        regions, pixels = [ops.cast(_cells(x), dtype) for x in inputs]
        weights = ops.softmax(regions, axis=1)
        means = ops.matmul(ops.transpose(weights, (0, 2, 1)), pixels)
        return ops.cast(ops.expand_dims(means, 2), inputs[1].dtype)

    def compute_output_spec(self, inputs):
        """Returns the output spec."""
        regions, pixels = inputs
        shape = (pixels.shape[0], regions.shape[3], 1, pixels.shape[3])
        return keras.KerasTensor(shape, pixels.dtype)


@keras.saving.register_keras_serializable("kerasseg")
class RegionAttention(layers.Layer):
    """Attention of pixels to regions ([Yuan19] equation 3).

    Its inputs are `[query, key, value]`: a feature map, and twice
    `[batch, regions, 1, channels]`. The softmax over the regions is in at
    least float32.
    """

    def call(self, inputs):
        """Returns a feature map of the size of the query."""
        query, key, value = inputs
        height, width = ops.shape(query)[1:3]
        key = ops.transpose(_cells(key), (0, 2, 1))
        scores = ops.matmul(_cells(query) * query.shape[3] ** -0.5, key)
        # ops.softmax warns if there is a single class.
        scores = ops.cast(scores, _at_least_float32(scores.dtype))
        weights = ops.exp(ops.log_softmax(scores, axis=-1))
        x = ops.matmul(ops.cast(weights, value.dtype), _cells(value))
        return ops.reshape(x, (-1, height, width, value.shape[3]))

    def compute_output_spec(self, inputs):
        """Returns the output spec."""
        shape = (*inputs[0].shape[:3], inputs[2].shape[3])
        return keras.KerasTensor(shape, self.compute_dtype)


def _at_least_float32(dtype):
    return "float64" if dtype == "float64" else "float32"


def _cells(x):
    height, width = ops.shape(x)[1:3]
    return ops.reshape(x, (-1, height * width, x.shape[3]))


def _transition(branches, width, *, name):
    """Adds a branch of half the resolution of the last."""
    filters = [width * 2**i for i in range(max(len(branches) + 1, 2))]
    new = _conv_bn(branches[-1], filters[-1], stride=2, name=f"{name}_new")
    if len(branches) == 1:  # The first stage has 256 channels for any width.
        branches = [_conv_bn(branches[0], width, name=f"{name}_keep")]
    return [*branches, new]


def _exchange(branches, resize="anchored", enlarge_first=False, *, name):
    """Adds to each branch all others, resized and projected to its channels."""
    exchanged = []
    for i, target in enumerate(branches):
        summands = []
        for j, x in enumerate(branches):
            part = f"{name}_from{j + 1}_to{i + 1}"
            if j > i:
                x = _conv_bn(x, target.shape[-1], 1, relu=False, name=part)
                stride = 2 ** (j - i)
                if enlarge_first:
                    x = blocks.UpSampling2D(
                        stride, interpolation="bilinear", name=f"{part}_enlarge"
                    )(x)
                up = blocks.ResizeLike(stride, resize=resize, name=f"{part}_up")
                x = up([x, target])
            for step in range(j, i):
                last = step == i - 1
                filters = target.shape[-1] if last else x.shape[-1]
                step_name = f"{part}_{step - j + 1}"
                x = _conv_bn(x, filters, stride=2, relu=not last, name=step_name)
            summands.append(x)
        x = layers.Add(name=f"{name}_sum{i + 1}")(summands)
        exchanged.append(layers.ReLU(name=f"{name}_out{i + 1}")(x))
    return exchanged


def _bottleneck(x, *, name):
    """Applies a bottleneck block with 256 output channels."""
    start = x
    if x.shape[-1] != 256:
        start = _conv_bn(x, 256, 1, relu=False, name=f"{name}_short")
    x = _conv_bn(x, 64, 1, name=f"{name}_narrow")
    x = _conv_bn(x, 64, name=f"{name}_middle")
    x = _conv_bn(x, 256, 1, relu=False, name=f"{name}_widen")
    x = layers.Add(name=f"{name}_add")([start, x])
    return layers.ReLU(name=f"{name}_out")(x)


def _basic(x, *, name):
    """Applies a basic residual block."""
    start, filters = x, x.shape[-1]
    x = _conv_bn(x, filters, name=f"{name}_first")
    x = _conv_bn(x, filters, relu=False, name=f"{name}_second")
    x = layers.Add(name=f"{name}_add")([start, x])
    return layers.ReLU(name=f"{name}_out")(x)


def _conv_bn(x, filters, kernel_size=3, *, stride=1, bias=False, relu=True, name):
    """Applies convolution and batch norm, with equal padding on all sides."""
    if stride > 1:
        x = layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_pad")(x)
    x = layers.Conv2D(
        filters,
        kernel_size,
        strides=stride,
        padding="same" if stride == 1 else "valid",
        use_bias=bias,
        name=f"{name}_conv",
    )(x)
    x = blocks.BatchNormalization(**_BATCH_NORM, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x) if relu else x
