"""ENet (Paszke et al., 2016): bottlenecks, most of them at stride 8.

Details that the paper does not state are those of the authors' Torch code
(e-lab/ENet-training, models/): ReLU and no dropout in the decoder, batch normalization
with epsilon 1e-3. The image size of that network must be a multiple of 8. Here odd
sizes are rounded up when halved, and the decoder crops.
"""

from collections.abc import Sequence

import keras
from keras import layers, ops

from kerasseg import blocks, models

# Options of bottlenecks 2.1 to 2.8 and 3.1 to 3.8.
_KINDS: tuple[dict[str, int], ...] = (
    *({}, {"rate": 2}, {"asymmetric": 5}, {"rate": 4}),
    *({}, {"rate": 8}, {"asymmetric": 5}, {"rate": 16}),
)


@models.register(
    paper="https://arxiv.org/abs/1606.02147",
    params=364_441,
    macs=2_019_773_311,
    output_stride=8,
    test_options={"repeats": 1},
)
def enet(
    num_classes: int,
    image_size: Sequence[int | None],
    *,
    encoder_only: bool = False,
    aux: bool = False,
    repeats: int = 2,
) -> keras.Model:
    """Builds ENet ([Paszke16] table 1).

    It is trained in two stages: first the encoder with a classifier, on labels at 1/8
    of the image size; then the whole network, from the weights of the encoder.

    Args:
        num_classes: Number of classes.
        image_size: Height and width in pixels; None where they vary.
        encoder_only: Whether to replace the decoder by the classifier of the first
            stage, whose logits are resized to the image.
        aux: Whether to return "aux_encoder" too, the logits of the encoder's classifier
            at 1/8 of the image size.
        repeats: Number of times that bottlenecks 2.1 to 2.8 are repeated; 2 in the
            paper.

    Returns:
        A model from images to logits; see `models.build_model`.
    """
    image, padded = blocks.image_input(image_size, "tf")
    x = _initial(padded)
    x, pooled1 = _downsample(x, 64, dropout=0.01, name="bottleneck1_0")
    for i in range(1, 5):
        x = _bottleneck(x, dropout=0.01, name=f"bottleneck1_{i}")
    x, pooled2 = _downsample(x, 128, dropout=0.1, name="bottleneck2_0")
    for stage in range(2, 2 + repeats):
        for i, kind in enumerate(_KINDS, start=1):
            x = _bottleneck(x, **kind, dropout=0.1, name=f"bottleneck{stage}_{i}")
    outputs = {}
    if encoder_only or aux:
        scores = layers.Conv2D(
            num_classes, 1, dtype="float32", name="encoder_classify"
        )(x)
        outputs["aux_encoder"] = scores
    if encoder_only:  # Each cell covers 8x8 pixels.
        x = blocks.UpSampling2D(
            8, interpolation="bilinear", dtype="float32", name="encoder_resize"
        )(scores)
    else:
        x = _decode(x, pooled1, pooled2)
        x = layers.Conv2DTranspose(
            num_classes, 2, strides=2, dtype="float32", name="fullconv"
        )(x)
    outputs["logits"] = blocks.CropLike(dtype="float32", name="logits")([x, image])
    return keras.Model(image, outputs if aux else outputs["logits"], name="enet")


def _initial(image):
    """Concatenates a strided convolution and the pooled image (figure 2a)."""
    x = layers.ZeroPadding2D(1, name="initial_pad")(image)
    x = layers.Conv2D(13, 3, strides=2, name="initial_conv")(x)
    pooled = layers.MaxPooling2D(2, padding="same", name="initial_pool")(image)
    x = layers.Concatenate(name="initial_concat")([x, pooled])
    return _prelu(_batch_norm(x, "initial_bn"), "initial_prelu")


def _downsample(x, filters, *, dropout, name):
    """Halves the size; returns the map, and `[indices, input]` for `_upsample`."""
    maxima, indices = blocks.MaxPoolWithIndices(name=f"{name}_pool")(x)
    other = PadChannels(filters - x.shape[-1], name=f"{name}_pad")(maxima)
    y = _project(x, filters // 4, _prelu, size=2, name=name)
    y = _conv(y, filters // 4, 3, use_bias=True, name=f"{name}_conv")
    return _merge(y, other, _prelu, dropout=dropout, name=name), [indices, x]


def _bottleneck(x, *, rate=1, asymmetric=0, dropout=0.0, activate=None, name):
    """Applies a bottleneck with a residual connection (figure 2b).

    Args:
        x: Feature map.
        rate: Dilation rate of the 3x3 convolution.
        asymmetric: Size of two asymmetric convolutions that replace it; 0 for none.
        dropout: Dropout rate of the channels of the branch.
        activate: `_prelu` (None) or `_relu`.
        name: Prefix of the layer names.
    """
    activate = activate or _prelu
    filters = x.shape[-1] // 4
    y = _project(x, filters, activate, name=name)
    if asymmetric:  # Without batch norm in between.
        y = _conv(y, filters, (1, asymmetric), name=f"{name}_row")
        y = _conv(y, filters, (asymmetric, 1), use_bias=True, name=f"{name}_conv")
    else:
        y = _conv(y, filters, 3, rate=rate, use_bias=True, name=f"{name}_conv")
    return _merge(y, x, activate, dropout=dropout, name=name)


def _upsample(x, filters, pooled, *, name):
    """Doubles the size; the residual branch is unpooled with the given indices."""
    other = _conv(x, filters, 1, name=f"{name}_other")
    other = _batch_norm(other, f"{name}_other_bn")
    other = blocks.Unpool(name=f"{name}_unpool")([other, *pooled])
    y = _project(x, filters // 4, _relu, name=name)
    # As Torch with padding 1 and adjustment 1: drops the first of 2n + 1 cells.
    y = layers.Conv2DTranspose(filters // 4, 3, strides=2, name=f"{name}_conv")(y)
    y = layers.Cropping2D(((1, 0), (1, 0)), name=f"{name}_cut")(y)
    y = blocks.CropLike(name=f"{name}_crop")([y, pooled[1]])
    return _merge(y, other, _relu, name=name)


def _decode(x, pooled1, pooled2):
    x = _upsample(x, 64, pooled2, name="bottleneck4_0")
    x = _bottleneck(x, activate=_relu, name="bottleneck4_1")
    x = _bottleneck(x, activate=_relu, name="bottleneck4_2")
    x = _upsample(x, 16, pooled1, name="bottleneck5_0")
    return _bottleneck(x, activate=_relu, name="bottleneck5_1")


@keras.saving.register_keras_serializable("kerasseg")
class PadChannels(layers.Layer):
    """Appends `channels` channels of zeros."""

    def __init__(self, channels: int, **options):
        super().__init__(**options)
        self.channels = channels

    def call(self, x):
        """Pads `[batch, height, width, channels]`."""
        return ops.pad(x, [[0, 0], [0, 0], [0, 0], [0, self.channels]])

    def compute_output_spec(self, x):
        """Returns the output spec."""
        shape = (*x.shape[:-1], x.shape[-1] + self.channels)
        return keras.KerasTensor(shape, x.dtype)

    def get_config(self):
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "channels": self.channels}


def _project(x, filters, activate, *, size=1, name):
    """Reduces the channels; with `size` 2 also halves height and width."""
    name = f"{name}_project"
    x = _conv(x, filters, size, stride=size, name=name)
    return activate(_batch_norm(x, f"{name}_bn"), f"{name}_activation")


def _merge(y, other, activate, *, dropout=0.0, name):
    """Projects branch `y` to the channels of `other` and adds it."""
    y = activate(_batch_norm(y, f"{name}_conv_bn"), f"{name}_conv_activation")
    y = _conv(y, other.shape[-1], 1, name=f"{name}_expand")
    y = _batch_norm(y, f"{name}_expand_bn")
    y = layers.SpatialDropout2D(dropout, name=f"{name}_dropout")(y)
    x = layers.Add(name=f"{name}_add")([y, other])
    return activate(x, f"{name}_activation")


def _conv(x, filters, size, *, stride=1, rate=1, use_bias=False, name):
    return blocks.Conv2D(
        filters,
        size,
        strides=stride,
        dilation_rate=rate,
        padding="same",
        use_bias=use_bias,
        name=name,
    )(x)


def _batch_norm(x, name):
    """Applies batch normalization with the momentum of Torch, 0.1."""
    return blocks.BatchNormalization(epsilon=1e-3, momentum=0.9, name=name)(x)


def _prelu(x, name):
    """Applies PReLU per channel, initialized to 0.25 as in Torch."""
    return layers.PReLU(
        alpha_initializer=keras.initializers.Constant(0.25),
        shared_axes=(1, 2),
        name=name,
    )(x)


def _relu(x, name):
    return layers.ReLU(name=name)(x)
