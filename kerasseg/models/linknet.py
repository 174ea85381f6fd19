"""LinkNet (Chaurasia and Culurciello, 2017): decoders with additive links."""

from collections.abc import Sequence

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
    num_classes: int,
    image_size: Sequence[int | None],
    *,
    backbone: str = "resnet18",
    backbone_weights: str | None = None,
    narrowing: int = 4,
    filters: int = 32,
) -> keras.Model:
    """Builds LinkNet ([Chaurasia17] figures 1 and 2).

    Details that the paper does not state are those of the released code (e-lab/LinkNet,
    models/model.lua): convolutions of the decoder have biases, each sum is followed by
    ReLU, and the last decoder has stride 1 and is added to the pooled output of the
    stem.

    Args:
        num_classes: Number of classes.
        image_size: Height and width in pixels; None where they vary.
        backbone: Name of the backbone. "c1" is pooled as in the stem of a ResNet; there
            is no link for a backbone without "c1".
        backbone_weights: See `backbones.build`.
        narrowing: Factor by which a decoder reduces its input channels; 4 in the
            paper, smaller for backbones with few channels.
        filters: Channels after the last decoder; 32 in the paper.

    Returns:
        A model from images to logits; see `models.build_model`.
    """
    image, padded = blocks.image_input(image_size, backbones.normalization(backbone))
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


def decoder(x, link, narrowing, *, stride: int, name: str):
    """Applies a decoder block and adds the link from the encoder.

    Args:
        x: Output of the previous decoder.
        link: Feature map of the encoder, `stride` times as large as `x` or smaller by
            one cell; None for no link and the channels of `x`.
        narrowing: Factor by which the channels of `x` are reduced.
        stride: Stride of the transposed convolution.
        name: Prefix of the layer names.
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


def full_conv(x, filters: int, stride: int, *, name: str):
    """Applies a 3x3 transposed convolution to exactly `stride` times the size.

    The kernel of cell `i` is centered at `stride * i`, as in the 3x3 convolutions of
    the encoder. With Keras' "same" padding it would be one cell further.
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
    """Pools "c1" to stride 4 as in the stem of a ResNet."""
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
    """Returns an initializer of variance 2 / (kernel size * filters), as released.

    Keras calls that number the fan-out, and for transposed convolutions the fan-in.
    """
    return initializers.VarianceScaling(2.0, mode, "untruncated_normal")
