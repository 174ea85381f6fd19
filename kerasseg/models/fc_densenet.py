"""FC-DenseNet, "Tiramisu" (Jegou et al., 2016): a U-Net of dense blocks."""

from collections.abc import Sequence

import keras
from keras import initializers, layers

from kerasseg import blocks, models

_PAPER = "https://arxiv.org/abs/1611.09326"
_DROPOUT = 0.2
# Those of Lasagne, which the released code uses.
_BATCH_NORM = {"momentum": 0.9, "epsilon": 1e-4}


@models.register(
    paper=_PAPER,
    params=1_376_795,
    macs=46_700_581_392,
    output_stride=32,
    setting={"num_classes": 11},
    test_options={"filters": 16, "growth": 8, "depths": (2, 2, 2, 3)},
)
def fc_densenet56(
    num_classes: int,
    image_size: Sequence[int | None],
    *,
    filters: int = 48,
    growth: int = 12,
    depths: Sequence[int] = (4, 4, 4, 4, 4, 4),
) -> keras.Model:
    """Builds FC-DenseNet56 ([Jegou17] section 4.1).

    Args:
        num_classes: Number of classes.
        image_size: Height and width in pixels; None where they vary.
        filters: Channels of the first convolution.
        growth: Growth rate: channels that each layer of a dense block adds.
        depths: Number of layers of each dense block of the downsampling path, and of
            the bottleneck; the upsampling path mirrors them.

    Returns:
        A model from images to logits; see `models.build_model`.
    """
    return _build("fc_densenet56", num_classes, image_size, filters, growth, depths)


@models.register(
    paper=_PAPER,
    params=3_463_243,
    macs=109_458_003_312,
    output_stride=32,
    setting={"num_classes": 11},
    test_options={"filters": 16, "growth": 8, "depths": (2, 2, 3)},
)
def fc_densenet67(
    num_classes: int,
    image_size: Sequence[int | None],
    *,
    filters: int = 48,
    growth: int = 16,
    depths: Sequence[int] = (5, 5, 5, 5, 5, 5),
) -> keras.Model:
    """Builds FC-DenseNet67 ([Jegou17] section 4.1).

    Args:
        num_classes: Number of classes.
        image_size: Height and width in pixels; None where they vary.
        filters: Channels of the first convolution.
        growth: Growth rate: channels that each layer of a dense block adds.
        depths: See `fc_densenet56`.

    Returns:
        A model from images to logits; see `models.build_model`.
    """
    return _build("fc_densenet67", num_classes, image_size, filters, growth, depths)


@models.register(
    paper=_PAPER,
    params=9_322_091,
    macs=105_056_045_328,
    output_stride=32,
    setting={"num_classes": 11},
    test_options={"filters": 16, "growth": 8, "depths": (1, 2, 3)},
)
def fc_densenet103(
    num_classes: int,
    image_size: Sequence[int | None],
    *,
    filters: int = 48,
    growth: int = 16,
    depths: Sequence[int] = (4, 5, 7, 10, 12, 15),
) -> keras.Model:
    """Builds FC-DenseNet103 ([Jegou17] table 2).

    Args:
        num_classes: Number of classes.
        image_size: Height and width in pixels; None where they vary.
        filters: Channels of the first convolution.
        growth: Growth rate: channels that each layer of a dense block adds.
        depths: See `fc_densenet56`.

    Returns:
        A model from images to logits; see `models.build_model`.
    """
    return _build("fc_densenet103", num_classes, image_size, filters, growth, depths)


def _build(name, num_classes, image_size, filters, growth, depths):
    """Builds an FC-DenseNet.

    As in the released code (https://github.com/SimJeg/FC-DenseNet), convolutions have
    biases, and four of the channel numbers in [Jegou17] table 2 are larger by 16. That
    code normalizes with the statistics of the batch also at inference; here the moving
    statistics are used, so that a prediction does not depend on other images.
    """
    image, padded = blocks.image_input(image_size, "tf")
    x = _conv(padded, filters, 3, name="first_conv")
    skips = []
    for i, depth in enumerate(depths[:-1], start=1):
        x, _ = dense_block(x, depth, growth, name=f"down{i}")
        skips.append(x)
        x = transition_down(x, name=f"td{i}")
    x, new = dense_block(x, depths[-1], growth, name="bottleneck")
    for i in range(len(skips), 0, -1):
        x = transition_up(new, skips[i - 1], name=f"tu{i}")
        x, new = dense_block(x, depths[i - 1], growth, name=f"up{i}")
    x = layers.Conv2D(
        num_classes,
        1,
        kernel_initializer=initializers.HeUniform(),
        dtype="float32",
        name="classify",
    )(x)
    logits = blocks.full_size_logits(x, padded, image, stride=1)
    return keras.Model(image, logits, name=name)


def dense_block(x, depth, growth, *, name: str):
    """Applies a dense block ([Jegou17] figure 2).

    Returns:
        `(x, new)`: the input concatenated with the outputs of all layers; and these
        outputs alone, `depth * growth` channels, for a transition up.
    """
    new = []
    for i in range(1, depth + 1):
        new.append(_bn_relu_conv(x, growth, 3, name=f"{name}_layer{i}"))
        x = layers.Concatenate(name=f"{name}_concat{i}")([x, new[-1]])
    if depth == 1:
        return x, new[0]
    return x, layers.Concatenate(name=f"{name}_new")(new)


def transition_down(x, *, name: str):
    """Applies a 1x1 convolution and halves the size, rounded down."""
    x = _bn_relu_conv(x, x.shape[-1], 1, name=name)
    return layers.MaxPooling2D(2, name=f"{name}_pool")(x)


def transition_up(new, skip, *, name: str):
    """Doubles the size and concatenates the skip connection.

    n cells become 2n + 1 and are cropped to the 2n or 2n + 1 of the skip connection.
    The center crop of the released code drops the same cells.
    """
    x = layers.Conv2DTranspose(
        new.shape[-1],
        3,
        strides=2,
        kernel_initializer=initializers.HeUniform(),
        name=f"{name}_deconv",
    )(new)
    x = blocks.CropLike(name=f"{name}_crop")([x, skip])
    return layers.Concatenate(name=f"{name}_merge")([x, skip])


def _bn_relu_conv(x, filters, kernel_size, *, name):
    x = blocks.BatchNormalization(**_BATCH_NORM, name=f"{name}_bn")(x)
    x = layers.ReLU(name=f"{name}_relu")(x)
    x = _conv(x, filters, kernel_size, name=f"{name}_conv")
    return layers.Dropout(_DROPOUT, name=f"{name}_dropout")(x)


def _conv(x, filters, kernel_size, *, name):
    return blocks.Conv2D(
        filters,
        kernel_size,
        padding="same",
        kernel_initializer=initializers.HeUniform(),
        name=name,
    )(x)
