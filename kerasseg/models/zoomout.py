"""Zoom-out features (Mostajabi et al., 2015): each cell described at every level."""

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
    num_classes,
    image_size,
    *,
    backbone_weights=None,
    zoom_layers=ZOOM_LAYERS,
    hidden_units=(1000, 1000),
    downsample=4,
    trainable_trunk=True,
    filters=64,
):
    """Builds the network that the authors released.

    That is github.com/ivasiljevic/zoom-out-release. It classifies cells instead of the
    paper's superpixels, for which see `inference.superpixels`. The paper takes its
    features from VGG16 as it is; the released script does so too, although its README
    says that it trains them. How far it pads fc6 is not known: here so that the map
    keeps its size.

    The 8320 features of all cells are held at once, and once more normalised: 4.4 GB
    for a picture of 1024x1024 in float32. The head works on each of them: 155 of the
    272 G multiply-adds at 513x513.

    Args:
        num_classes: Channels of the logits.
        image_size: Height and width; None where they vary.
        backbone_weights: See `vgg.load_weights`.
        zoom_layers: Maps that a cell is described by, in this order: names of
            `vgg.vgg16`, after their ReLU, and "fc7", whose maximum over the picture
            stands for the scene.
        hidden_units: Channels of each hidden layer of the classifier.
        downsample: Pixels to one cell, of 1, 2, 4, 8 and 16.
        trainable_trunk: Whether VGG16 is trained, not the classifier alone.
        filters: Channels of the trunk's first stage; 64 in the paper. fc6 and fc7 have
            64 times as many.
    """
    _check(zoom_layers, downsample)
    image, padded = blocks.picture(image_size, "caffe")
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


def trunk(x, filters, *, scene):
    """Builds VGG16, with fc7 where the scene is wanted; returns its maps by name."""
    maps = vgg.vgg16(x, filters=filters)
    if scene:
        x = vgg.fully_connected(maps["pool5"], 64 * filters, 7, name="fc6")
        # Its dropout comes after what the scene is described by.
        x = blocks.Conv2D(64 * filters, 1, activation="relu", name="fc7")(x)
        maps["fc7"] = x
    return maps


def zoom_out(maps, image, zoom_layers, downsample):
    """Brings maps to one grid, a cell every `downsample` pixels, and stacks them.

    Fine maps are thinned out, not pooled; coarse ones are repeated; of fc7 each cell
    gets the maximum over the picture.
    """
    grid = layers.MaxPooling2D(1, strides=downsample, name="grid")(image)
    parts = []
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
        parts.append(x)
    return parts[0] if len(parts) == 1 else layers.Concatenate(name="zoom_out")(parts)


def split(model):
    """Cuts a network at its features: for other elements than cells, superpixels.

    Args:
        model: Made by `zoomout`.

    Returns:
        Two models that share its layers: pictures to features before they are
        normalised, `[batch, rows, columns, channels]`, and such features to scores.
        The second takes any elements as `[1, elements, 1, channels]`.
    """
    raw = model.get_layer("normalize_features").input
    scores = model.get_layer("classify").output
    return keras.Model(model.input, raw), keras.Model(raw, scores)


def _stride(name):
    """Returns the pixels to one cell of a map of VGG16, from its name."""
    stage = int(name.removeprefix("block").removeprefix("pool")[0])
    return 2 ** (stage - 1) if name.startswith("block") else 2**stage


def _check(zoom_layers, downsample):
    known = [*ZOOM_LAYERS, *(f"pool{stage}" for stage in range(1, 6))]
    if not zoom_layers or not set(zoom_layers) <= set(known):
        raise errors.UserError(
            f"zoom_layers={tuple(zoom_layers)} of 'zoomout' must be one or more of "
            f"{known}."
        )
    if downsample not in _DOWNSAMPLES:
        raise errors.UserError(
            f"downsample={downsample} of 'zoomout' is not one of {_DOWNSAMPLES}."
        )
