"""PSPNet (Zhao et al., 2016): means of the picture and of its parts as context."""

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
    num_classes,
    image_size,
    *,
    backbone="resnet50",
    backbone_weights=None,
    output_stride=8,
    stem="deep",
    filters=512,
    aux=False,
):
    """Builds PSPNet ([Zhao17] figure 3).

    The authors' PyTorch code (https://github.com/hszhao/semseg) is followed in the
    order of the pyramid, [map, 1, 2, 3, 6] (their Caffe network has [map, 6, 3, 2, 1]),
    in its bins at sizes that 6 does not divide, and in aligned corners wherever a map
    is resized; the Caffe one in initial weights and in dropout of single cells. The
    encoder strides on 1x1 convolutions, as keras.applications' ResNets do.

    Args:
        num_classes: Channels of the logits.
        image_size: Height and width; None where they vary.
        backbone: Name of the encoder.
        backbone_weights: See `backbones.build`.
        output_stride: 8 in the paper, 16 or 32.
        stem: Of a ResNet: "deep" as in the released networks, "standard" for ImageNet
            weights of Keras. Other encoders have their own.
        filters: Channels of the last convolution; the paper has 512. The auxiliary
            head has half of them.
        aux: Whether to return `{"logits": ..., "aux_conv4": ...}`, the latter at the
            size of c4, where the paper's auxiliary loss looks (weight 0.4).
    """
    image, padded = blocks.picture(image_size, backbones.normalization(backbone))
    options = {"stem": stem} if "stem" in backbones.list_options(backbone) else {}
    c = backbones.build(
        backbone,
        padded,
        output_stride=output_stride,
        weights=backbone_weights,
        **options,
    )
    x = pyramid_pooling(c["c5"])
    x = _classify(x, filters, num_classes, name="head")
    logits = blocks.full_size_logits(x, padded, image, stride=output_stride)
    outputs = logits
    if aux:
        x = _classify(c["c4"], filters // 2, num_classes, name="aux")
        small = blocks.AtStride(min(16, output_stride), name="aux_conv4")(x)
        outputs = {"logits": logits, "aux_conv4": small}
    return keras.Model(image, outputs, name="pspnet")


def pyramid_pooling(x, *, name="pyramid"):
    """Sets beside a map its means over 1, 4, 9 and 36 parts of the picture.

    Each has a quarter of the map's channels ([Zhao17] section 3.2), so that all
    together have as many as the map.
    """
    branches = [x]
    for bins in _BINS:
        branch = blocks.AdaptiveAveragePool(bins, name=f"{name}_pool{bins}")(x)
        branch = blocks.conv_bn_relu(
            branch, x.shape[-1] // len(_BINS), 1, name=f"{name}_bin{bins}"
        )
        branches.append(Spread(name=f"{name}_spread{bins}")([branch, x]))
    return layers.Concatenate(name=f"{name}_concat")(branches)


def _classify(x, filters, num_classes, *, name):
    x = blocks.conv_bn_relu(x, filters, name=f"{name}_refine")
    x = layers.Dropout(0.1, name=f"{name}_dropout")(x)
    return layers.Conv2D(
        num_classes,
        1,
        # Caffe's "msra"; it has it everywhere, but batch norm undoes a kernel's scale.
        kernel_initializer=initializers.HeNormal(),
        dtype="float32",
        name=f"{name}_classify",
    )(x)


@keras.saving.register_keras_serializable("kerasseg")
class Spread(layers.Layer):
    """Resizes `x` bilinearly to `like`, corner cells on corner cells.

    As two products with matrices, each as long as a side of `like`: no backend has
    aligned corners for sizes that are known at run time only, and `x` is a few cells.
    """

    def __init__(self, **options):
        super().__init__(autocast=False, **options)

    def call(self, inputs):
        """Takes `[x, like]`; the height and width of `x` are known."""
        x, like = inputs
        rows, columns, channels = x.shape[1:4]
        height, width = ops.shape(like)[1:3]
        wide = ops.matmul(_shares(width, columns, x.dtype), x)
        wide = ops.reshape(wide, (-1, rows, width * channels))
        full = ops.matmul(_shares(height, rows, x.dtype), wide)
        return ops.reshape(full, (-1, height, width, channels))

    def compute_output_spec(self, inputs):
        """Has the sides of `like` and the channels of `x`."""
        x, like = inputs
        return keras.KerasTensor((x.shape[0], *like.shape[1:3], x.shape[3]), x.dtype)


def _shares(length, cells, dtype):
    """What each cell gives to each place on a longer side, `[length, cells]`."""
    last = ops.maximum(ops.cast(length, "float32") - 1, 1)
    place = ops.cast(ops.arange(length, dtype="int32"), "float32") * (cells - 1) / last
    distance = ops.abs(place[:, None] - ops.arange(cells, dtype="float32"))
    return ops.cast(ops.maximum(1 - distance, 0), dtype)
