"""PSPNet (Zhao et al., 2016): pyramid pooling for global context."""

from collections.abc import Sequence

import keras
from keras import initializers, layers, ops

from kerasseg import backbones, blocks, models

_BINS = (1, 2, 3, 6)


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

    Returns:
        A model from images to logits; see `models.build_model`.
    """
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
    x = pyramid_pooling(c["c5"], resize)
    x = _classify(x, filters, num_classes, name="head")
    logits = blocks.full_size_logits(
        x, padded, image, stride=output_stride, resize=resize
    )
    outputs = logits
    if aux:
        x = _classify(c["c4"], filters // 2, num_classes, name="aux")
        small = blocks.AtStride(min(16, output_stride), name="aux_conv4")(x)
        outputs = {"logits": logits, "aux_conv4": small}
    return keras.Model(image, outputs, name="pspnet")


def pyramid_pooling(x, resize: str = "corners", *, name: str = "pyramid"):
    """Concatenates a feature map with its pooled maps of 1, 2, 3 and 6 bins.

    Each pooled map has a quarter of the channels of `x` ([Zhao17] section 3.2).
    """
    branches = [x]
    for bins in _BINS:
        branch = blocks.AdaptiveAveragePool(bins, name=f"{name}_pool{bins}")(x)
        branch = blocks.conv_bn_relu(
            branch, x.shape[-1] // len(_BINS), 1, name=f"{name}_bin{bins}"
        )
        spread = blocks.ResizeLike if resize == "half_pixel" else Spread
        branches.append(spread(name=f"{name}_spread{bins}")([branch, x]))
    return layers.Concatenate(name=f"{name}_concat")(branches)


def _classify(x, filters, num_classes, *, name):
    x = blocks.conv_bn_relu(x, filters, name=f"{name}_refine")
    x = layers.Dropout(0.1, name=f"{name}_dropout")(x)
    return layers.Conv2D(
        num_classes,
        1,
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
