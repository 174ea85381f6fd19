"""DecoupledNet (Hong et al., 2015): classification and segmentation, decoupled.

[Hong15] is https://arxiv.org/abs/1506.04924. A classification network is trained on
image-level labels. Bridging layers propagate the score of one class back to its last
feature map, through the transposed weights and the active ReLUs of its last layers. A
segmentation network, which does not know the class, separates this class from the rest
of the image. It is trained on few masks, one class of an image at a time.

The registered models are the joint network, which segments all classes of an image as
the released code does; `parts` returns the networks of the two stages. Class 0 of the
labels is the background, class k is class k - 1 of the classification network.

There are two differences from the released code: it interpolates probabilities with
bicubic filters, and only runs the passes of active classes, with the same result.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
from keras import initializers, layers, ops

from kerasseg import backbones, blocks, errors, models
from kerasseg.backbones import vgg
from kerasseg.blocks import bridging, resizing

_PAPER = "https://arxiv.org/abs/1506.04924"
# Channels of the convolutions after each unpooling, as factors of `filters`.
_STAGES = {5: (8, 8, 8), 4: (8, 8, 4), 3: (4, 4, 2), 2: (2, 1), 1: (1, 1)}
_FC6 = 7  # Size of the kernel, which is not padded.


@models.register(
    paper=_PAPER,
    params=307_450_390,
    macs=860_170_747_904,
    output_stride=51,  # 320 / 32 cells for 513 pixels.
    encoder="vgg16",
    test_options={"filters": 4, "units": 32, "side": 256},
)
def decoupled_net(
    num_classes: int,
    image_size: Sequence[int | None],
    *,
    backbone_weights: str | None = None,
    filters: int = 64,
    units: int = 4096,
    side: int = 320,
) -> keras.Model:
    """Builds DecoupledNet on VGG16, as released.

    Images are padded to a square at the bottom and right, and resized. The segmentation
    network runs `num_classes` times for an image, see `blocks.ClassPasses`; the stated
    multiply-adds contain all runs.

    Args:
        num_classes: Number of classes with the background, at least 2.
        image_size: Height and width in pixels; None where they vary.
        backbone_weights: See `backbones.build`.
        filters: Channels of the first stage; 64 in the paper.
        units: Channels of fc6 and fc7; 4096 in the paper. Those of the segmentation
            network have half as many.
        side: Height and width of the resized image in pixels, a multiple of 32 from
            224; 320 in the paper.

    Returns:
        A model from images to log probabilities; see `models.build_model`.
    """
    _check_classes(num_classes, "decoupled_net")
    if side % 32 or side < 32 * _FC6:
        raise errors.UserError(
            f"`side={side}` of 'decoupled_net' must be a multiple of 32, at least "
            f"{32 * _FC6}, because fc6 covers {_FC6} cells of 32 pixels."
        )
    image = blocks.raw_input(image_size)
    square = PadToSquare(dtype="float32", name="square")(image)
    x = Resize(side, dtype="float32", name="resize")(square)
    x = resized = blocks.normalize(x, "caffe")
    indices: dict[int, Any] = {}

    def pool(x, stage):
        x, indices[stage] = blocks.MaxPoolWithIndices(name=f"pool{stage}")(x)
        return x

    x = vgg.vgg16(x, filters=filters, pool=pool)["pool5"]
    tags = _classify(x, num_classes - 1, units, _FC6, dropout=0.5)
    vgg.load_weights(keras.Model(image, tags.relu7), backbone_weights)
    [x] = layers.Identity(name="features")([x])
    x = _batch_norm(x, name="segment_features_bn")
    sizes = [indices[stage] for stage in _STAGES]  # Of the maps before each pool.
    seeds, relu7, relu6, x, resized, *sizes = blocks.ClassPasses(name="passes")(
        [tags.scores, tags.peaks, tags.relu7, tags.relu6, x, resized, *sizes]
    )
    x = _concatenate_bridged(x, _bridge(tags, seeds, relu7, relu6))
    x = _conv(x, units // 2, 7, padding="valid", name="segment_fc6")
    x = _conv(x, units // 2, 1, name="segment_fc7")
    x = _conv(
        x,
        8 * filters,
        7,
        layer=layers.Conv2DTranspose,
        padding="valid",
        name="segment_fc6_deconv",
    )
    likes = [*sizes[1:], resized]
    for (stage, factors), index, like in zip(
        _STAGES.items(), sizes, likes, strict=True
    ):
        x = blocks.Unpool(name=f"unpool{stage}")([x, index, like])
        for unit, factor in enumerate(factors, start=1):
            name = f"segment{stage}_conv{unit}"
            x = _conv(x, factor * filters, 3, name=name)
    return _merge_passes(image, square, tags.scores, x, "decoupled_net")


@models.register(
    paper=_PAPER,
    params=4_294_614,
    macs=35_371_800_672,
    output_stride=32,
    setting={"backbone": "efficientnet_lite0"},
    test_options={"backbone": "resnet18_quarter", "units": 16, "filters": 16},
)
def decoupled_net_small(
    num_classes: int,
    image_size: Sequence[int | None],
    *,
    backbone: str = "efficientnet_lite0",
    backbone_weights: str | None = None,
    units: int = 128,
    filters: int = 64,
) -> keras.Model:
    """Builds a small DecoupledNet on any backbone, for images of any size.

    The fully connected layers are a 3x3 and a 1x1 convolution. Encoders do not return
    the indices of their pools, so the decoder upsamples bilinearly, and has skip
    connections to "c4", "c3" and "c2". It runs `num_classes` times for an image, see
    `blocks.ClassPasses`; the stated multiply-adds contain all runs.

    Args:
        num_classes: Number of classes with the background, at least 2.
        image_size: Height and width in pixels; None where they vary.
        backbone: Name of the backbone; see `backbones.list_backbones`.
        backbone_weights: See `backbones.build`.
        units: Channels of the two layers before the scores of the classes.
        filters: Channels of the decoder. Its skip connections have half as many, and
            the map before the decoder twice as many.

    Returns:
        A model from images to log probabilities; see `models.build_model`.
    """
    _check_classes(num_classes, "decoupled_net_small")
    image, padded = blocks.image_input(image_size, backbones.normalization(backbone))
    c = backbones.build(backbone, padded, weights=backbone_weights)
    tags = _classify(c["c5"], num_classes - 1, units, 3, padding="same", name="tags_")
    x, *skips = layers.Identity(name="features")([c[f"c{k}"] for k in (5, 4, 3, 2)])
    x = _batch_norm(x, name="segment_features_bn")
    skips = [
        blocks.conv_bn_relu(skip, filters // 2, 1, name=f"segment_lateral{level}")
        for level, skip in zip((4, 3, 2), skips, strict=True)
    ]
    seeds, relu7, relu6, x, *skips = blocks.ClassPasses(name="passes")(
        [tags.scores, tags.peaks, tags.relu7, tags.relu6, x, *skips]
    )
    x = _concatenate_bridged(x, _bridge(tags, seeds, relu7, relu6))
    x = blocks.conv_bn_relu(x, 2 * filters, name="segment5")
    for level, skip in zip((4, 3, 2), skips, strict=True):
        x = blocks.ResizeLike(name=f"segment{level}_up")([x, skip])
        x = layers.Concatenate(name=f"segment{level}_concat")([x, skip])
        x = blocks.conv_bn_relu(x, filters, name=f"segment{level}")
    return _merge_passes(image, padded, tags.scores, x, "decoupled_net_small")


class Parts(NamedTuple):
    """The networks of the two stages of training; they share the layers of a model.

    Attributes:
        classification: Model from images to the scores of the classes without
            background, logits `[batch, num_classes - 1]`. Trained in stage 1.
        bridge: Model from `[image, classes]` to the map of the bridging layers, of the
            size of the last feature map. `classes` is `[batch, num_classes - 1]`, 1 for
            a class that is segmented, else 0.
        segmentation: Model from `[image, classes]` to logits of background and
            foreground, `[batch, height, width, 2]`, of the size of the image. Dropout
            and batch normalization of the classification network run as at inference.
        segmentation_layers: The layers that are trained in stage 2, while those of
            `classification` are frozen.
    """

    classification: keras.Model
    bridge: keras.Model
    segmentation: keras.Model
    segmentation_layers: list[keras.layers.Layer]


def parts(model: keras.Model) -> Parts:
    """Returns the parts of a DecoupledNet, which share its variables.

    Args:
        model: A model that `decoupled_net` or `decoupled_net_small` has built, or one
            that was loaded.

    Raises:
        UserError: Another model.
    """
    names = {layer.name for layer in model.layers}
    if not {"features", "passes", "binary", "probabilities_resize"} <= names:
        raise errors.UserError(
            f"`model={model.name}` is not a DecoupledNet. Build it with "
            "models.build_model('decoupled_net') or 'decoupled_net_small'."
        )
    features, passes = model.get_layer("features"), model.get_layer("passes")
    bridged = model.get_layer("segment_bridged_bn").input
    resize = model.get_layer("probabilities_resize")
    scores, peaks, *gates = passes.input[:4]
    sources, targets = _as_list(features.input), _as_list(features.output)
    end = 4 + len(targets)  # Of what layers compute from the features.
    classify = keras.Model(
        model.input,
        [scores, peaks, *gates, *passes.input[end:], *sources, resize.input[1]],
    )
    refine = keras.Model(targets, passes.input[4:end])
    decode = keras.Model(passes.output, model.get_layer("binary").output)
    back = keras.Model(passes.output[:3], bridged)

    image = keras.Input(model.input.shape[1:], name="image")
    classes = keras.Input((scores.shape[-1],), name="classes")
    scores, peaks, *others = _AtInference(classify)(image)
    gates, others, padded = others[:2], others[2:-1], others[-1]
    others, maps = others[: -len(targets)], others[-len(targets) :]
    seeds = bridging.seed(scores, peaks) * classes[:, None, None, :]
    x = decode([seeds, *gates, *_as_list(refine(maps)), *others])
    binary = blocks.full_size_logits(x, padded, image, name="binary_full_size")
    classification = keras.Model(model.input, passes.input[0], name="classification")
    own = set(map(id, classification.layers))
    return Parts(
        classification,
        keras.Model([image, classes], back([seeds, *gates]), name="bridge"),
        keras.Model([image, classes], binary, name="segmentation"),
        [layer for layer in model.layers if layer.weights and id(layer) not in own],
    )


class _AtInference(layers.Layer):
    """Calls a network as at inference; `training=False` in a graph is overridden."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def call(self, x):
        """Calls the network."""
        return self.network(x, training=False)

    def compute_output_spec(self, x):
        """Returns the output spec."""
        del x
        return [keras.KerasTensor(y.shape, y.dtype) for y in self.network.outputs]


@keras.saving.register_keras_serializable("kerasseg")
class PadToSquare(layers.Layer):
    """Pads images with black pixels at the bottom and right to a square."""

    def call(self, x):
        """Pads the shorter side."""
        batch, height, width, channels = ops.shape(x)
        known = isinstance(height, int) and isinstance(width, int)
        side = max(height, width) if known else ops.maximum(height, width)
        x = ops.pad(x, [[0, 0], [0, side - height], [0, side - width], [0, 0]])
        # TFLite's converter loses the number of channels if paddings are dynamic.
        return ops.reshape(x, (batch, side, side, channels))

    def compute_output_spec(self, x):
        """Returns the output spec; the side is unknown if height or width is."""
        batch, height, width, channels = x.shape
        side = height and width and max(height, width)
        return keras.KerasTensor((batch, side, side, channels), x.dtype)


@keras.saving.register_keras_serializable("kerasseg")
class Resize(layers.Layer):
    """Resizes images bilinearly to `side` x `side` pixels."""

    def __init__(self, side: int, **options):
        super().__init__(**options)
        self.side = side

    def call(self, x):
        """Resizes `[batch, height, width, channels]`."""
        return resizing.resize(x, self.side, self.side)

    def compute_output_shape(self, shape):
        """Returns the output shape."""
        return (shape[0], self.side, self.side, shape[3])

    def get_config(self):
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "side": self.side}


class _Tags(NamedTuple):
    """The end of a classification network: its layers and their outputs."""

    fc6: Any
    fc7: Any
    score: Any
    relu6: Any
    relu7: Any
    scores: Any
    peaks: Any


def _check_classes(num_classes, name):
    if num_classes < 2:
        raise errors.UserError(
            f"`num_classes={num_classes}` of '{name}' must be at least 2: class 0 is "
            "the background, and the others are classified."
        )


def _classify(
    x, num_classes, units, kernel_size, *, padding="valid", dropout=0.0, name=""
):
    """Classifies the image by the largest score of its cells."""
    fc6 = blocks.TransposableConv2D(
        units, kernel_size, padding=padding, name=f"{name}fc6"
    )
    fc7 = blocks.TransposableConv2D(units, 1, name=f"{name}fc7")
    score = blocks.TransposableConv2D(
        num_classes, 1, dtype="float32", name=f"{name}score"
    )
    relu6 = x = layers.ReLU(name=f"{name}fc6_relu")(fc6(x))
    x = layers.Dropout(dropout, name=f"{name}fc6_dropout")(x)
    relu7 = x = layers.ReLU(name=f"{name}fc7_relu")(fc7(x))
    x = layers.Dropout(dropout, name=f"{name}fc7_dropout")(x)
    pool = blocks.GlobalMaxPoolWithPeaks(dtype="float32", name=f"{name}scores")
    return _Tags(fc6, fc7, score, relu6, relu7, *pool(score(x)))


def _bridge(tags, seeds, relu7, relu6):
    """Propagates seeds back to the input of fc6: the bridging layers of [Hong15]."""
    x = tags.score(seeds, transposed=True)
    x = blocks.ReluGate(name="bridge_gate7")([x, relu7])
    x = tags.fc7(x, transposed=True)
    x = blocks.ReluGate(name="bridge_gate6")([x, relu6])
    return tags.fc6(x, transposed=True)


def _concatenate_bridged(features, bridged):
    bridged = _batch_norm(bridged, name="segment_bridged_bn")
    return layers.Concatenate(name="segment_concat")([features, bridged])


# The authors' Caffe has this epsilon, and the released network the initial values.
_batch_norm_layer = functools.partial(
    blocks.BatchNormalization,
    epsilon=1e-9,
    beta_initializer=initializers.Constant(0.001),
)


def _batch_norm(x, *, name):
    return _batch_norm_layer(name=name)(x)


def _conv(x, filters, kernel_size, *, layer=blocks.Conv2D, padding="same", name):
    """Applies a convolution with bias, batch normalization and ReLU.

    The released 3x3 layers are transposed convolutions of stride 1, which are
    convolutions with a flipped kernel.
    """
    x = layer(
        filters,
        kernel_size,
        padding=padding,
        kernel_initializer=initializers.RandomNormal(stddev=0.01),
        name=name,
    )(x)
    x = _batch_norm(x, name=f"{name}_bn")
    return layers.ReLU(name=f"{name}_relu")(x)


def _merge_passes(image, padded, scores, x, name):
    """Classifies pixels as background or foreground and merges the passes."""
    binary = layers.Conv2D(2, 1, dtype="float32", name="binary")(x)
    x = blocks.ClassProbabilities(dtype="float32", name="merge")([scores, binary])
    x = blocks.full_size_logits(x, padded, image, name="probabilities")
    logits = blocks.LogProbabilities(dtype="float32", name="logits")(x)
    return keras.Model(image, logits, name=name)


def _as_list(x):
    return x if isinstance(x, list | tuple) else [x]
