"""LinkNet as in segmentation_models.pytorch: links at all strides of the encoder.

https://github.com/qubvel-org/segmentation_models.pytorch, decoders/linknet. It differs
from `linknet` in the links (also of the stem, without ReLU after the sum), transposed
convolutions (4x4), biases and the last layers.
"""

from collections.abc import Sequence

import keras
from keras import initializers, layers

from kerasseg import backbones, blocks, models

_NARROWING = 4


@models.register(
    paper="https://arxiv.org/abs/1707.03718",
    params=21_772_597,
    macs=21_402_517_312,
    output_stride=32,
    setting={"backbone": "resnet34"},
    test_options={"backbone": "resnet18_quarter", "filters": 16},
)
def smp_linknet(
    num_classes: int,
    image_size: Sequence[int | None],
    *,
    backbone: str = "resnet34",
    backbone_weights: str | None = None,
    filters: int = 32,
) -> keras.Model:
    """Builds the LinkNet of segmentation_models.pytorch.

    Args:
        num_classes: Number of classes.
        image_size: Height and width in pixels; None where they vary. At sizes that 32
            does not divide, which that library refuses, maps are cropped at the bottom
            and right.
        backbone: Name of the backbone; there is no link for a missing "c1".
        backbone_weights: See `backbones.build`.
        filters: Channels after the last decoder.

    Returns:
        A model from images to logits; see `models.build_model`.
    """
    image, padded = blocks.image_input(image_size, backbones.normalization(backbone))
    c = backbones.build(backbone, padded, weights=backbone_weights)
    x = c["c5"]
    for i in (4, 3, 2, 1):
        x = decoder(x, c.get(f"c{i}"), filters, name=f"decoder{i}")
    x = decoder(x, None, filters, name="decoder0")
    x = layers.Conv2D(
        num_classes,
        1,
        kernel_initializer=initializers.RandomNormal(stddev=0.01),
        dtype="float32",
        name="classify",
    )(x)
    logits = blocks.CropLike(dtype="float32", name="logits")([x, image])
    return keras.Model(image, logits, name="smp_linknet")


def decoder(x, link, filters: int, *, name: str):
    """Doubles the size of a map and adds the link from the encoder.

    Args:
        x: Output of the previous decoder.
        link: Feature map of the encoder, twice as large or smaller by one cell; None
            for none.
        filters: Channels of the result if there is no link.
        name: Prefix of the layer names.
    """
    inside = x.shape[-1] // _NARROWING
    x = blocks.conv_bn_relu(x, inside, 1, name=f"{name}_narrow")
    x = layers.Conv2DTranspose(
        inside, 4, strides=2, padding="same", name=f"{name}_up_conv"
    )(x)
    x = blocks.BatchNormalization(epsilon=1e-5, name=f"{name}_up_bn")(x)
    x = layers.ReLU(name=f"{name}_up_relu")(x)
    filters = filters if link is None else link.shape[-1]
    x = blocks.conv_bn_relu(x, filters, 1, name=f"{name}_widen")
    if link is None:
        return x
    x = blocks.CropLike(name=f"{name}_crop")([x, link])
    return layers.Add(name=f"{name}_add")([x, link])
