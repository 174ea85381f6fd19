"""G-FRNet (Islam et al., 2017): gated feedback refinement of coarse predictions."""

from collections.abc import Sequence

import keras
from keras import layers, ops

from kerasseg import blocks, models
from kerasseg.backbones import vgg

_SKIPS = (  # Inputs of refinement stages 2 to 6, each of half the stride.
    "block5_conv3",
    "block4_conv3",
    "block3_conv3",
    "block2_conv2",
    "block1_conv2",
)


@models.register(
    paper="https://arxiv.org/abs/1806.11266",
    params=29_194_090,
    macs=90_026_574_858,
    output_stride=32,
    setting={"num_classes": 11},
    encoder="vgg16",
    test_options={"filters": 8},
)
def gfrnet(
    num_classes: int,
    image_size: Sequence[int | None],
    *,
    backbone_weights: str | None = None,
    aux: bool = False,
    gate_relu: bool = False,
    filters: int = 64,
) -> keras.Model:
    """Builds the gated feedback refinement network ([Islam17] figure 2).

    All feature maps of the decoder have `num_classes` channels. The layers are those of
    the released network for CamVid (github.com/mrochan/gfrnet), except that it
    concatenates stage 5 in the other order and initializes conv6 and conv7 to zero.

    Args:
        num_classes: Number of classes.
        image_size: Height and width in pixels; None where they vary.
        backbone_weights: See `vgg.load_weights`.
        aux: Whether to return the five intermediate predictions too, "aux_pred1" to
            "aux_pred5", at 1/32 to 1/2 of the image size. The paper trains all six
            with equal weights on labels of these sizes; its code upsamples them.
        gate_relu: Whether the inputs of a gate pass a ReLU, as in the paper but not in
            the released network.
        filters: Channels of the encoder's first stage; 64 in the paper.

    Returns:
        A model from images to logits; see `models.build_model`.
    """
    image, padded = blocks.image_input(image_size, "caffe")
    maps = vgg.vgg16(padded, filters=filters, pool=_pool, convolve=_conv_bn_relu)
    x = maps["pool5"]
    vgg.load_weights(keras.Model(image, x), backbone_weights)
    for name in ("conv6", "conv7"):
        x = _conv_bn_relu(x, 16 * filters, name=name, beta=0.001)
        x = layers.Dropout(0.5, name=f"{name}_dropout")(x)
    prediction = _convolve(x, num_classes, dtype="float32", name="pred1")
    predictions = [prediction]
    coarse = _convolve(maps["pool5"], num_classes, name="coarse1")  # No batch norm.
    if gate_relu:
        coarse = layers.ReLU(name="coarse1_relu")(coarse)
    for stage, skip in enumerate(_SKIPS, start=2):
        fine = features(maps[skip], num_classes, gate_relu, name=f"features{stage}")
        gated = gate(fine, coarse, name=f"gate{stage}")
        prediction = refine(prediction, gated, name=f"pred{stage}")
        predictions.append(prediction)
        coarse = fine  # Input of the next gate.
    logits = blocks.CropLike(dtype="float32", name="logits")([prediction, image])
    outputs = logits
    if aux:
        outputs = {f"aux_pred{i}": x for i, x in enumerate(predictions[:-1], start=1)}
        outputs["logits"] = logits
    return keras.Model(image, outputs, name="gfrnet")


def features(x, num_classes: int, relu, *, name: str):
    """Projects a feature map of the encoder to the channels of the decoder."""
    x = _batch_norm(_convolve(x, num_classes, name=name), name=name, beta=0.001)
    return layers.ReLU(name=f"{name}_relu")(x) if relu else x


def gate(fine, coarse, *, name: str):
    """Applies a gate unit: the product of fine and resized coarse features.

    It has no sigmoid. The product is computed in float32, because it can exceed the
    range of float16.
    """
    coarse = AlignedResizeLike(name=f"{name}_up")([coarse, fine])
    x = layers.Multiply(dtype="float32", name=f"{name}_product")([fine, coarse])
    return _batch_norm(x, dtype="float32", name=name, beta=0.001)


def refine(prediction, gated, *, name: str):
    """Predicts from the gated features and the resized previous prediction."""
    prediction = AlignedResizeLike(name=f"{name}_up")([prediction, gated])
    join = layers.Concatenate(dtype="float32", name=f"{name}_concat")
    num_classes = prediction.shape[-1]
    return _convolve(join([gated, prediction]), num_classes, dtype="float32", name=name)


@keras.saving.register_keras_serializable("kerasseg")
class AlignedResizeLike(layers.Layer):
    """Resizes `x` bilinearly to the size of `like` with aligned corners.

    This is Caffe's Interp layer. It differs from `blocks.ResizeLike`, which aligns the
    outer edges or the first cells.
    """

    def __init__(self, **options):
        super().__init__(autocast=False, **options)

    def call(self, inputs):
        """Resizes the first of `[x, like]` and keeps its dtype."""
        x, like = inputs
        height, width = ops.shape(like)[1:3]
        rows, columns = ops.shape(x)[1:3]
        # Matrix products, because the gradient of a gather is not deterministic.
        resized = ops.einsum(
            "wj,bijc->biwc", _weights(columns, width), ops.cast(x, "float32")
        )
        resized = ops.einsum("hi,biwc->bhwc", _weights(rows, height), resized)
        return ops.cast(resized, x.dtype)

    def compute_output_spec(self, inputs):
        """Returns the output spec."""
        x, like = inputs
        return keras.KerasTensor((x.shape[0], *like.shape[1:3], x.shape[3]), x.dtype)


def _weights(cells, side):
    """Returns the interpolation weights, `[side, cells]`."""
    last, new_last = ops.maximum(cells - 1, 0), ops.maximum(side - 1, 1)
    at = ops.arange(side, dtype="float32") * ops.cast(last, "float32")
    at = at / ops.cast(new_last, "float32")
    distance = ops.abs(at[:, None] - ops.arange(cells, dtype="float32"))
    return ops.relu(1.0 - distance)


def _pool(x, stage):
    x = vgg.pool(x, stage)
    return layers.Dropout(0.5, name=f"pool{stage}_dropout")(x) if stage >= 3 else x


def _conv_bn_relu(x, filters, *, rate=1, name, beta=0.0):
    """Applies convolution, with bias as in the released network, batch norm, ReLU."""
    x = _batch_norm(_convolve(x, filters, rate=rate, name=name), name=name, beta=beta)
    return layers.ReLU(name=f"{name}_relu")(x)


def _convolve(x, filters, *, rate=1, dtype=None, name):
    return blocks.Conv2D(
        filters,
        3,
        dilation_rate=rate,
        padding="same",
        kernel_initializer="he_normal",
        dtype=dtype,
        name=name,
    )(x)


def _batch_norm(x, *, dtype=None, name, beta):
    return blocks.BatchNormalization(
        epsilon=1e-9,  # As in the authors' Caffe, with beta initialized to 0.001.
        beta_initializer=keras.initializers.Constant(beta),
        dtype=dtype,
        name=f"{name}_bn",
    )(x)
