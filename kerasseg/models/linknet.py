"""LinkNet (Chaurasia and Culurciello, 2017): each decoder is added to its encoder."""

import keras
from keras import initializers, layers

from kerasseg import backbones, blocks, models

_EPSILON = 1e-3


@models.register(
    paper="https://arxiv.org/abs/1707.03718",
    params=11_536_949,
    macs=11_450_115_008,
    output_stride=32,
    test_options={"backbone": "resnet18_quarter", "narrowing": 1, "filters": 16},
)
def linknet(
    num_classes,
    image_size,
    *,
    backbone="resnet18",
    backbone_weights=None,
    narrowing=4,
    filters=32,
):
    """Builds LinkNet ([Chaurasia17] figures 1 and 2).

    Follows the released code (e-lab/LinkNet, models/model.lua) where the paper is
    silent: convolutions of the decoder have biases, ReLU follows each sum, the last
    decoder keeps the size of its map and is added to the pooled output of the stem.

    Args:
        num_classes: Channels of the logits.
        image_size: Height and width; None where they vary.
        backbone: Name of the encoder. What the stem of the ResNet is pooled to, "c1"
            of any other is too; one without "c1" has no link there.
        backbone_weights: See `backbones.build`.
        narrowing: How many times fewer channels a decoder has inside than it takes; 4
            in the paper, less suits encoders with few channels.
        filters: Channels after the last decoder; 32 in the paper.
    """
    image, padded = blocks.picture(image_size, backbones.normalization(backbone))
    c = backbones.build(backbone, padded, weights=backbone_weights)
    x = c["c5"]
    for i in (4, 3, 2):
        x = decoder(x, c[f"c{i}"], narrowing, stride=2, name=f"decoder{i}")
    x = decoder(x, _pooled_stem(c), narrowing, stride=1, name="decoder1")
    x = _bn_relu(full_conv(x, filters, 2, name="final_full_conv"), name="final_full")
    x = _bn_relu(_conv(x, filters, 3, name="final_conv"), name="final")
    x = layers.Conv2DTranspose(
        num_classes,
        2,
        strides=2,
        kernel_initializer=_normal("fan_in"),
        dtype="float32",
        name="classify",
    )(x)
    logits = blocks.CropLike(dtype="float32", name="logits")([x, image])
    return keras.Model(image, logits, name="linknet")


def decoder(x, link, narrowing, *, stride, name):
    """Narrows, convolves transposed, widens to the channels of `link`; adds that.

    Args:
        x: Map of the decoder below.
        link: Map of the encoder, `stride` times as large or one cell less; None for
            no link, and as many channels as `x` has.
        narrowing: Channels of `x` to one inside.
        stride: Of the transposed convolution.
        name: Of the layers.
    """
    inside = x.shape[-1] // narrowing
    outside = x.shape[-1] if link is None else link.shape[-1]
    x = _bn_relu(_conv(x, inside, 1, name=f"{name}_conv1"), name=f"{name}_1")
    x = full_conv(x, inside, stride, name=f"{name}_full_conv")
    if link is not None:
        x = blocks.CropLike(name=f"{name}_crop")([x, link])
    x = _bn_relu(x, name=f"{name}_2")
    x = _bn_relu(_conv(x, outside, 1, name=f"{name}_conv2"), name=f"{name}_3")
    if link is None:
        return x
    x = layers.Add(name=f"{name}_add")([x, link])
    return layers.ReLU(name=f"{name}_out")(x)


def full_conv(x, filters, stride, *, name):
    """Convolves transposed, 3x3, to exactly `stride` times the size.

    The middle of the kernel of cell `i` lies at `stride * i`, where the encoders' 3x3
    convolutions took it from. Keras' "same" would put it one further.
    """
    x = layers.Conv2DTranspose(
        filters,
        3,
        strides=stride,
        padding="valid" if stride > 1 else "same",
        kernel_initializer=_normal("fan_in"),
        name=name,
    )(x)
    if stride == 1:
        return x
    return layers.Cropping2D(((1, 0), (1, 0)), name=f"{name}_crop")(x)


def _pooled_stem(c):
    """Pools "c1" as ResNet's stem goes on: at stride 4, as "c2" is."""
    if "c1" not in c:
        return None
    x = layers.ZeroPadding2D(1, name="link_stem_pad")(c["c1"])
    return layers.MaxPooling2D(3, strides=2, name="link_stem_pool")(x)


def _conv(x, filters, kernel_size, *, name):
    return layers.Conv2D(
        filters,
        kernel_size,
        padding="same",
        kernel_initializer=_normal("fan_out"),
        name=name,
    )(x)


def _bn_relu(x, *, name):
    x = blocks.BatchNormalization(epsilon=_EPSILON, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def _normal(mode):
    """Draws with variance 2 / (kernel * filters), as the released code does.

    Keras calls that the fan out, and of transposed convolutions the fan in.
    """
    return initializers.VarianceScaling(2.0, mode, "untruncated_normal")
