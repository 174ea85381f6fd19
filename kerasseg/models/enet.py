"""ENet (Paszke et al., 2016): bottlenecks, nearly all at an eighth of the picture.

The layers are those of the authors' Torch code (e-lab/ENet-training, models/), which
settles what the paper leaves open: ReLU and no dropout in the decoder, a batch norm of
epsilon 1e-3. Torch's network takes sides that 8 divides; here odd maps are halved to
the larger half, and the decoder cuts what is too much.
"""

import keras
from keras import layers, ops

from kerasseg import blocks, models

# Of bottlenecks 2.1 to 2.8, and again of 3.1 to 3.8.
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
def enet(num_classes, image_size, *, encoder_only=False, aux=False, repeats=2):
    """Builds ENet ([Paszke16] table 1).

    It is trained in two stages: first the encoder alone with a classifier, on labels
    at an eighth of the picture's size, then all of it, from the encoder's weights.

    Args:
        num_classes: Channels of the logits.
        image_size: Height and width; None where they vary.
        encoder_only: Whether the classifier of the first stage stands in the place of
            the decoder; its scores are resized to the picture.
        aux: Whether the scores of the encoder's classifier, at an eighth of the
            picture's size, are an output too, "aux_encoder".
        repeats: Times that bottlenecks 2.1 to 2.8 stand behind each other; 2 in the
            paper.
    """
    image, padded = blocks.picture(image_size, "tf")
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
    if encoder_only:  # Cells are squares of 8 pixels, the last ones cut.
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
    """Joins 13 channels of a strided convolution and the pooled picture (figure 2a)."""
    x = layers.ZeroPadding2D(1, name="initial_pad")(image)
    x = layers.Conv2D(13, 3, strides=2, name="initial_conv")(x)
    pooled = layers.MaxPooling2D(2, padding="same", name="initial_pool")(image)
    x = layers.Concatenate(name="initial_concat")([x, pooled])
    return _prelu(_batch_norm(x, "initial_bn"), "initial_prelu")


def _downsample(x, filters, *, dropout, name):
    """Halves a map; returns it, and `[indices, map]` of the pooling for `_upsample`."""
    maxima, indices = blocks.MaxPoolWithIndices(name=f"{name}_pool")(x)
    other = PadChannels(filters - x.shape[-1], name=f"{name}_pad")(maxima)
    y = _project(x, filters // 4, _prelu, size=2, name=name)
    y = _conv(y, filters // 4, 3, use_bias=True, name=f"{name}_conv")
    return _merge(y, other, _prelu, dropout=dropout, name=name), [indices, x]


def _bottleneck(x, *, rate=1, asymmetric=0, dropout=0.0, activate=None, name):
    """Convolves a quarter of the channels and adds the result (figure 2b).

    Args:
        x: The map.
        rate: Dilation of its 3x3 convolution.
        asymmetric: Length of the two convolutions, a row and a column, in its place.
        dropout: Share of the channels of the branch that are dropped.
        activate: `_prelu` (None) or `_relu`.
        name: Of the bottleneck.
    """
    activate = activate or _prelu
    filters = x.shape[-1] // 4
    y = _project(x, filters, activate, name=name)
    if asymmetric:  # Nothing between the two.
        y = _conv(y, filters, (1, asymmetric), name=f"{name}_row")
        y = _conv(y, filters, (asymmetric, 1), use_bias=True, name=f"{name}_conv")
    else:
        y = _conv(y, filters, 3, rate=rate, use_bias=True, name=f"{name}_conv")
    return _merge(y, x, activate, dropout=dropout, name=name)


def _upsample(x, filters, pooled, *, name):
    """Doubles a map, to the size of what was pooled, and unpools by its indices."""
    other = _conv(x, filters, 1, name=f"{name}_other")
    other = _batch_norm(other, f"{name}_other_bn")
    other = blocks.Unpool(name=f"{name}_unpool")([other, *pooled])
    y = _project(x, filters // 4, _relu, name=name)
    # Torch's padding of 1 and adjustment of 1: the first of 2n + 1 cells is cut.
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
    """Appends channels of zeros."""

    def __init__(self, channels, **options):
        super().__init__(**options)
        self.channels = channels

    def call(self, x):
        """Takes `[batch, height, width, channels]`."""
        return ops.pad(x, [[0, 0], [0, 0], [0, 0], [0, self.channels]])

    def compute_output_spec(self, x):
        """Has more channels."""
        shape = (*x.shape[:-1], x.shape[-1] + self.channels)
        return keras.KerasTensor(shape, x.dtype)

    def get_config(self):
        """Adds the number of channels."""
        return {**super().get_config(), "channels": self.channels}


def _project(x, filters, activate, *, size=1, name):
    """Narrows a map, and halves it with cells of 2x2 that leave nothing out."""
    name = f"{name}_project"
    x = _conv(x, filters, size, stride=size, name=name)
    return activate(_batch_norm(x, f"{name}_bn"), f"{name}_activation")


def _merge(y, other, activate, *, dropout=0.0, name):
    """Ends the branch `y`: widened to the channels of `other`, and added to it."""
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
    """Normalises with Torch's momentum of 0.1."""
    return blocks.BatchNormalization(epsilon=1e-3, momentum=0.9, name=name)(x)


def _prelu(x, name):
    """Has a slope for each channel, from Torch's 0.25."""
    return layers.PReLU(
        alpha_initializer=keras.initializers.Constant(0.25),
        shared_axes=(1, 2),
        name=name,
    )(x)


def _relu(x, name):
    return layers.ReLU(name=name)(x)
