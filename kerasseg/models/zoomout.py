"""Zoom-out features (Mostajabi et al., 2015): features of all levels for each cell."""

from collections.abc import Sequence

import keras
from keras import layers

from kerasseg import blocks, errors, models
from kerasseg.backbones import vgg

ZOOM_LAYERS = (
    *(f"block{stage}_conv{unit}" for stage in (1, 2) for unit in (1, 2)),
    *(f"block{stage}_conv{unit}" for stage in (3, 4, 5) for unit in (1, 2, 3)),
    "fc7",
)
_DOWNSAMPLES = (1, 2, 4, 8, 16)


@models.register(
    paper="https://arxiv.org/abs/1412.0774",
    params=143_631_810,
    macs=272_390_878_536,
    output_stride=32,
    encoder="vgg16",
    test_options={"filters": 8, "hidden_units": (32, 32)},
)
def zoomout(
    num_classes: int,
    image_size: Sequence[int | None],
    *,
    backbone_weights: str | None = None,
    zoom_layers: Sequence[str] = ZOOM_LAYERS,
    hidden_units: Sequence[int] = (1000, 1000),
    downsample: int = 4,
    trainable_trunk: bool = True,
    filters: int = 64,
) -> keras.Model:
    """Builds the zoom-out network as released by the authors.

    The release is github.com/ivasiljevic/zoom-out-release. It classifies cells instead
    of the superpixels of the paper; for these see `inference.superpixels`. The paper
    and the released script do not train VGG16, although the README of the release says
    so. The padding of fc6 is not stated; here it keeps the size.

    The 8320 features of all cells are held in memory twice, before and after
    normalization: 4.4 GB for an image of 1024x1024 pixels in float32. The classifier
    has 155 of the 272 G multiply-adds at 513x513 pixels.

    Args:
        num_classes: Number of classes.
        image_size: Height and width in pixels; None where they vary.
        backbone_weights: See `vgg.load_weights`.
        zoom_layers: Feature maps that are concatenated, in this order: names of
            `vgg.vgg16`, after their ReLU, and "fc7", of which the maximum over the
            image is taken.
        hidden_units: Channels of the hidden layers of the classifier.
        downsample: Stride of the cells in pixels: 1, 2, 4, 8 or 16.
        trainable_trunk: Whether VGG16 is trained too.
        filters: Channels of the first stage of VGG16; 64 in the paper. fc6 and fc7 have
            64 times as many.

    Returns:
        A model from images to logits; see `models.build_model`.
    """
    _check(zoom_layers, downsample)
    image, padded = blocks.image_input(image_size, "caffe")
    maps = trunk(padded, filters, scene="fc7" in zoom_layers)
    encoder = keras.Model(image, list(maps.values())[-1])
    vgg.load_weights(encoder, backbone_weights)
    for layer in encoder.layers:
        layer.trainable = trainable_trunk
    x = zoom_out(maps, padded, zoom_layers, downsample)
    x = blocks.NormalizeFeatures(name="normalize_features")(x)
    for i, units in enumerate(hidden_units, start=1):
        x = layers.Conv2D(units, 1, activation="relu", name=f"hidden{i}")(x)
        x = layers.Dropout(0.5, name=f"hidden{i}_dropout")(x)
    x = layers.Conv2D(num_classes, 1, dtype="float32", name="classify")(x)
    if downsample > 1:
        x = layers.Conv2DTranspose(
            num_classes,
            2 * downsample,
            strides=downsample,
            padding="same",
            kernel_initializer=blocks.Bilinear(),
            dtype="float32",
            name="upsample",
        )(x)
    logits = blocks.CropLike(dtype="float32", name="logits")([x, image])
    return keras.Model(image, logits, name="zoomout")


def trunk(x, filters: int, *, scene):
    """Builds VGG16, with fc7 if `scene` is true; returns its feature maps by name."""
    maps = vgg.vgg16(x, filters=filters)
    if scene:
        x = vgg.fully_connected(maps["pool5"], 64 * filters, 7, name="fc6")
        # Without dropout, which comes after the features.
        x = blocks.Conv2D(64 * filters, 1, activation="relu", name="fc7")(x)
        maps["fc7"] = x
    return maps


def zoom_out(maps, image, zoom_layers, downsample):
    """Resamples feature maps to stride `downsample` and concatenates them.

    Finer maps are subsampled, coarser ones are repeated, and "fc7" is replaced by its
    maximum over the image.
    """
    grid = layers.MaxPooling2D(1, strides=downsample, name="grid")(image)
    features = []
    for name in zoom_layers:
        x = maps[name]
        if name == "fc7":
            x = layers.GlobalMaxPooling2D(keepdims=True, name="scene")(x)
            x = blocks.ResizeLike(name="scene_spread")([x, grid])
        elif _stride(name) < downsample:
            step = downsample // _stride(name)
            x = layers.MaxPooling2D(1, strides=step, name=f"{name}_thin")(x)
        elif _stride(name) > downsample:
            times = _stride(name) // downsample
            x = blocks.UpSampling2D(times, name=f"{name}_repeat")(x)
            x = blocks.CropLike(name=f"{name}_crop")([x, grid])
        features.append(x)
    if len(features) == 1:
        return features[0]
    return layers.Concatenate(name="zoom_out")(features)


def split(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Splits a network at its features, to classify superpixels instead of cells.

    Args:
        model: Model built by `zoomout`.

    Returns:
        Two models that share its layers: from images to features before normalization,
        `[batch, rows, columns, channels]`, and from such features to scores. The second
        also accepts features of superpixels, `[1, superpixels, 1, channels]`.
    """
    raw = model.get_layer("normalize_features").input
    scores = model.get_layer("classify").output
    return keras.Model(model.input, raw), keras.Model(raw, scores)


def _stride(name):
    """Returns the stride of a feature map of VGG16."""
    stage = int(name.removeprefix("block").removeprefix("pool")[0])
    return 2 ** (stage - 1) if name.startswith("block") else 2**stage


def _check(zoom_layers, downsample):
    known = [*ZOOM_LAYERS, *(f"pool{stage}" for stage in range(1, 6))]
    if not zoom_layers or not set(zoom_layers) <= set(known):
        raise errors.UserError(
            f"`zoom_layers={tuple(zoom_layers)}` of 'zoomout' must be one or more of "
            f"{known}."
        )
    if downsample not in _DOWNSAMPLES:
        raise errors.UserError(
            f"`downsample={downsample}` of 'zoomout' must be one of {_DOWNSAMPLES}."
        )
