"""SegNet (Badrinarayanan et al., 2015): a decoder that unpools with pooling indices.

There are two differences from the authors' Caffe. Their batch normalization has no
moving statistics; they are computed by a pass over the training set after training.
Here Keras updates them, with their epsilon (1e-9) and initial beta (0.001). And the
mean is subtracted from images for SegNet, as VGG16's weights expect, which does not
matter after the first batch normalization.
"""

from collections.abc import Sequence

import keras
from keras import initializers, layers

from kerasseg import blocks, models
from kerasseg.backbones import vgg

_PAPER = "https://arxiv.org/abs/1511.00561"
_STAGES = {5: (8, 3), 4: (8, 3), 3: (4, 3), 2: (2, 2), 1: (1, 2)}  # As in `vgg`.


@models.register(
    paper=_PAPER,
    params=29_449_355,
    macs=165_075_156_864,
    output_stride=32,
    setting={"num_classes": 11},
    encoder="vgg16",
    test_options={"filters": 8},
)
def segnet(
    num_classes: int,
    image_size: Sequence[int | None],
    *,
    backbone_weights: str | None = None,
    dropout: float = 0.0,
    filters: int = 64,
) -> keras.Model:
    """Builds SegNet on VGG16 without fully connected layers.

    The layers are those of the authors' segnet_train.prototxt: convolutions have
    biases, and the last one has no batch normalization and ReLU ([Badrinarayanan15]
    section 3 and figure 2).

    Args:
        num_classes: Number of classes.
        image_size: Height and width in pixels; None where they vary.
        backbone_weights: See `backbones.build`.
        dropout: Dropout rate after each of the three deepest stages of encoder and
            decoder; 0.5 in the benchmark of the paper (section 4) and in Bayesian
            SegNet (https://arxiv.org/abs/1511.02680).
        filters: Channels of the first stage; 64 in the paper.

    Returns:
        A model from images to logits; see `models.build_model`.
    """
    image, padded = blocks.image_input(image_size, "caffe")
    pooled = {}

    def pool(x, stage):
        maxima, indices = blocks.MaxPoolWithIndices(name=f"pool{stage}")(x)
        pooled[stage] = indices, x
        return _drop(maxima, dropout, stage, name=f"pool{stage}_dropout")

    maps = vgg.vgg16(padded, filters=filters, pool=pool, convolve=_conv_bn_relu)
    x = maps["pool5"]
    vgg.load_weights(keras.Model(image, x), backbone_weights)
    for stage, (factor, units) in _STAGES.items():
        x = blocks.Unpool(name=f"unpool{stage}")([x, *pooled[stage]])
        for unit in range(units, 1, -1):
            name = f"decoder{stage}_conv{unit}"
            x = _conv_bn_relu(x, factor * filters, name=name)
        if stage > 1:  # That of stage 1 is the classifier.
            narrow = _STAGES[stage - 1][0] * filters
            x = _conv_bn_relu(x, narrow, name=f"decoder{stage}_conv1")
            x = _drop(x, dropout, stage, name=f"decoder{stage}_dropout")
    logits = _classify(x, num_classes, 3, image)
    return keras.Model(image, logits, name="segnet")


@models.register(
    paper=_PAPER,
    params=1_416_587,
    macs=90_368_612_224,
    output_stride=16,
    setting={"num_classes": 11},
    test_options={"filters": 8},
)
def segnet_basic(
    num_classes: int,
    image_size: Sequence[int | None],
    *,
    dropout: float = 0.0,
    filters: int = 64,
) -> keras.Model:
    """Builds SegNet-Basic: encoder and decoder of four 7x7 convolutions each.

    The layers are those of the authors' segnet_basic_train.prototxt: convolutions have
    biases, unlike [Badrinarayanan15] section 3.1, and the "local contrast
    normalization" of section 3.2 is local response normalization across channels.

    Args:
        num_classes: Number of classes.
        image_size: Height and width in pixels; None where they vary.
        dropout: Dropout rate after the two deepest stages of encoder and decoder; 0.5
            in Bayesian SegNet-Basic.
        filters: Channels of all stages; 64 in the paper.

    Returns:
        A model from images to logits; see `models.build_model`.
    """
    image, padded = blocks.image_input(image_size, "none")
    x = blocks.LocalResponseNormalization(dtype="float32", name="norm")(padded)
    pooled = {}
    for stage in range(1, 5):
        x = _conv_bn(x, filters, 7, name=f"encoder{stage}")
        x = layers.ReLU(name=f"encoder{stage}_relu")(x)
        maxima, indices = blocks.MaxPoolWithIndices(name=f"pool{stage}")(x)
        pooled[stage] = indices, x
        x = _drop(maxima, dropout, stage, name=f"pool{stage}_dropout")
    for stage in range(4, 0, -1):
        x = blocks.Unpool(name=f"unpool{stage}")([x, *pooled[stage]])
        x = _conv_bn(x, filters, 7, name=f"decoder{stage}")
        x = _drop(x, dropout, stage, name=f"decoder{stage}_dropout")
    logits = _classify(x, num_classes, 1, image)
    return keras.Model(image, logits, name="segnet_basic")


def _conv_bn(x, filters, kernel_size, *, rate=1, name):
    x = blocks.Conv2D(
        filters,
        kernel_size,
        dilation_rate=rate,
        padding="same",
        kernel_initializer="he_normal",
        name=name,
    )(x)
    return blocks.BatchNormalization(
        epsilon=1e-9,
        beta_initializer=initializers.Constant(0.001),
        name=f"{name}_bn",
    )(x)


def _conv_bn_relu(x, filters, *, rate=1, name):
    x = _conv_bn(x, filters, 3, rate=rate, name=name)
    return layers.ReLU(name=f"{name}_relu")(x)


def _drop(x, rate, stage, *, name):
    """Applies dropout from stage 3 on."""
    return layers.Dropout(rate, name=name)(x) if stage >= 3 else x


def _classify(x, num_classes, kernel_size, image):
    x = layers.Conv2D(
        num_classes,
        kernel_size,
        padding="same",
        kernel_initializer="he_normal",
        dtype="float32",
        name="classify",
    )(x)
    return blocks.CropLike(dtype="float32", name="logits")([x, image])
