"""PSPNet (Zhao et al., 2016): pyramid pooling for global context."""

from collections.abc import Sequence

import keras
from keras import initializers, layers, ops

from kerasseg import backbones, blocks, errors, models

_BINS = (1, 2, 3, 6)
_ENDPOINTS = ("c3", "c4", "c5")


@models.register(
    paper="https://arxiv.org/abs/1612.01105",
    params=46_716_373,
    macs=189_303_255_232,
    output_stride=8,
    setting={"backbone": "resnet50"},
    test_options={"backbone": "resnet18_quarter", "filters": 32},
)
def pspnet(
    num_classes: int,
    image_size: Sequence[int | None],
    *,
    backbone: str = "resnet50",
    backbone_weights: str | None = None,
    output_stride: int = 8,
    stem: str = "deep",
    filters: int = 512,
    aux: bool = False,
    resize: str = "anchored",
    endpoint: str = "c5",
    normalize_mean: bool = True,
    kernel_sizes: Sequence[int] = (3, 1),
) -> keras.Model:
    """Builds PSPNet ([Zhao17] figure 3).

    As in the authors' PyTorch code (https://github.com/hszhao/semseg), the order of the
    pyramid is [input, 1, 2, 3, 6] ([input, 6, 3, 2, 1] in their Caffe network), bins at
    sizes that 6 does not divide overlap, and resizing has aligned corners. Initializers
    and dropout are those of the Caffe network. The strides of the backbone are on 1x1
    convolutions, as in the ResNets of keras.applications.

    Args:
        num_classes: Number of classes.
        image_size: Height and width in pixels; None where they vary.
        backbone: Name of the backbone; see `backbones.list_backbones`.
        backbone_weights: See `backbones.build`.
        output_stride: 8 (in the paper), 16 or 32.
        stem: Stem of a ResNet: "deep" as in the released networks, or "standard", which
            the ImageNet weights of Keras need. Ignored for other backbones.
        filters: Channels of the last convolution; 512 in the paper. The auxiliary head
            has half as many.
        aux: Whether to return "aux_conv4" too, the logits of the auxiliary head at the
            size of "c4", trained with weight 0.4 in the paper.
        resize: How logits are resized, one of `blocks.RESIZES`; "corners" in the
            authors' code, which is equal at sizes of `output_stride * n + 1`. With
            "half_pixel" (OpenMMLab) maps of the pyramid are resized in that way, too.
        endpoint: Feature map that is pooled, "c3", "c4" or "c5"; "c3" in
            segmentation_models.pytorch. The stages after it are left out.
        normalize_mean: Whether the mean of the map, the pool of one bin, is batch
            normalized; if not, its convolution has a bias.
        kernel_sizes: Heights and widths of the kernels of the last two convolutions;
            (1, 3) in segmentation_models.pytorch.

    Returns:
        A model from images to logits; see `models.build_model`.
    """
    _check(endpoint, kernel_sizes)
    image, padded = blocks.image_input(image_size, backbones.normalization(backbone))
    has_stem = "stem" in backbones.list_options(backbone)
    options: dict = {"stem": stem} if has_stem else {}
    c = backbones.build(
        backbone,
        padded,
        output_stride=output_stride,
        weights=backbone_weights,
        **options,
    )
    x = pyramid_pooling(c[endpoint], resize, normalize_mean)
    x = _classify(x, filters, num_classes, kernel_sizes, name="head")
    stride = min(2 ** int(endpoint[1:]), output_stride)
    logits = blocks.full_size_logits(x, padded, image, stride=stride, resize=resize)
    outputs = logits
    if aux:
        x = _classify(c["c4"], filters // 2, num_classes, kernel_sizes, name="aux")
        small = blocks.AtStride(min(16, output_stride), name="aux_conv4")(x)
        outputs = {"logits": logits, "aux_conv4": small}
    return keras.Model(image, outputs, name="pspnet")


def _check(endpoint, kernel_sizes):
    if endpoint not in _ENDPOINTS:
        raise errors.UserError(
            f"`endpoint={endpoint}` of 'pspnet' must be one of {_ENDPOINTS}."
        )
    are_odd = [size > 0 and size % 2 == 1 for size in kernel_sizes]
    if len(are_odd) != 2 or not all(are_odd):
        raise errors.UserError(
            f"`kernel_sizes={kernel_sizes}` of 'pspnet' must be two odd numbers, as "
            "(3, 1) or (1, 3)."
        )


def pyramid_pooling(
    x, resize: str = "corners", normalize_mean: bool = True, *, name: str = "pyramid"
):
    """Concatenates a feature map with its pooled maps of 1, 2, 3 and 6 bins.

    Each pooled map has a quarter of the channels of `x` ([Zhao17] section 3.2). That of
    one bin is not batch normalized without `normalize_mean`.
    """
    branches = [x]
    for bins in _BINS:
        branch = blocks.AdaptiveAveragePool(bins, name=f"{name}_pool{bins}")(x)
        filters = x.shape[-1] // len(_BINS)
        if bins > 1 or normalize_mean:
            branch = blocks.conv_bn_relu(branch, filters, 1, name=f"{name}_bin{bins}")
        else:
            branch = layers.Conv2D(filters, 1, name=f"{name}_bin1_conv")(branch)
            branch = layers.ReLU(name=f"{name}_bin1_relu")(branch)
        spread = blocks.ResizeLike if resize == "half_pixel" else Spread
        branches.append(spread(name=f"{name}_spread{bins}")([branch, x]))
    return layers.Concatenate(name=f"{name}_concat")(branches)


def _classify(x, filters, num_classes, kernel_sizes, *, name):
    x = blocks.conv_bn_relu(x, filters, kernel_sizes[0], name=f"{name}_refine")
    x = layers.Dropout(0.1, name=f"{name}_dropout")(x)
    return layers.Conv2D(
        num_classes,
        kernel_sizes[1],
        padding="same",
        # Caffe's "msra". The scale of other kernels is undone by batch norm.
        kernel_initializer=initializers.HeNormal(),
        dtype="float32",
        name=f"{name}_classify",
    )(x)


@keras.saving.register_keras_serializable("kerasseg")
class Spread(layers.Layer):
    """Resizes `x` bilinearly to the size of `like` with aligned corners.

    It is computed as two matrix products, because no backend has aligned corners for
    sizes known only at run time. `x` has few cells.
    """

    def __init__(self, **options):
        super().__init__(autocast=False, **options)

    def call(self, inputs):
        """Resizes the first of `[x, like]`, whose height and width are static."""
        x, like = inputs
        rows, columns, channels = x.shape[1:4]
        height, width = ops.shape(like)[1:3]
        wide = ops.matmul(_weights(width, columns, x.dtype), x)
        wide = ops.reshape(wide, (-1, rows, width * channels))
        full = ops.matmul(_weights(height, rows, x.dtype), wide)
        return ops.reshape(full, (-1, height, width, channels))

    def compute_output_spec(self, inputs):
        """Returns the output spec."""
        x, like = inputs
        return keras.KerasTensor((x.shape[0], *like.shape[1:3], x.shape[3]), x.dtype)


def _weights(length, cells, dtype):
    """Returns the interpolation weights, `[length, cells]`."""
    last = ops.maximum(ops.cast(length, "float32") - 1, 1)
    position = (
        ops.cast(ops.arange(length, dtype="int32"), "float32") * (cells - 1) / last
    )
    distance = ops.abs(position[:, None] - ops.arange(cells, dtype="float32"))
    return ops.cast(ops.maximum(1 - distance, 0), dtype)
