"""DeepLab v1 (Chen et al., 2014): VGG16 with atrous convolution."""

from collections.abc import Sequence

import keras
from keras import initializers, layers

from kerasseg import blocks, errors, models
from kerasseg.backbones import vgg

# Kernel size and rate of fc6; factor of the channels of fc6 and fc7.
_HEADS = {
    "large_fov": (3, 12, 16),
    "4x4": (4, 4, 64),
    "4x4_rate8": (4, 8, 64),
    "7x7": (7, 4, 64),
}


@models.register(
    paper="https://arxiv.org/abs/1412.7062",
    params=20_505_429,
    macs=128_584_633_024,
    output_stride=8,
    encoder="vgg16",
    test_options={"filters": 8, "multi_scale": True},
)
def deeplab_v1(
    num_classes: int,
    image_size: Sequence[int | None],
    *,
    backbone_weights: str | None = None,
    head: str = "large_fov",
    multi_scale: bool = False,
    aux: bool = False,
    filters: int = 64,
) -> keras.Model:
    """Builds DeepLab v1 ([Chen14] section 3 and table 1) as in the released networks.

    Details are those of the released prototxts where the paper does not state them or
    differs: 3x3 pools, an average pool before fc6 of LargeFOV, and a sum of the scores
    of several scales, whose features section 4.3 of the paper concatenates. 2x2 pools
    are used where the released 4x4 network has them; their cells are centered half a
    pixel below and to the right of the position they are resized from here, and half a
    pixel above and to the left of that in the release.

    Args:
        num_classes: Number of classes.
        image_size: Height and width in pixels; None where they vary.
        backbone_weights: Weights of VGG16; see `backbones.build`. fc6 and fc7 get a
            subset of the cells and filters.
        head: Row of table 1: "large_fov" (fc6 of 3x3 at rate 12), "4x4" (rate 4),
            "4x4_rate8" or "7x7" (rate 4).
        multi_scale: Whether to add the scores of small networks on the image and on the
            first four pools ("MSc"). They are computed at every cell, as the release
            does at inference; in training it uses every 8th pixel.
        aux: Whether to return "aux_scores" too, at stride 8, which the paper trains.
        filters: Channels of the first convolutions; 64 in the paper.

    Returns:
        A model from images to logits; see `models.build_model`.
    """
    if head not in _HEADS:
        raise errors.UserError(
            f"`head={head}` of 'deeplab_v1' must be one of {[*_HEADS]}."
        )
    image, padded = blocks.image_input(image_size, "caffe")
    small_pools = head != "large_fov" and not multi_scale
    pool = _pool_2x2 if small_pools else vgg.deeplab_pool
    maps = vgg.vgg16(padded, filters=filters, pool=pool, rates=(1, 1, 1, 1, 2))
    x = maps["pool5"]
    if head == "large_fov":
        x = vgg.deeplab_mean_pool(x)
    side, rate, factor = _HEADS[head]
    x = vgg.fully_connected(x, factor * filters, side, rate=rate, name="fc6")
    x = vgg.fully_connected(x, factor * filters, 1, name="fc7")
    vgg.load_weights(keras.Model(padded, x), backbone_weights)
    scores = {"fc8": (_score(x, num_classes, "fc8"), 8)}
    if multi_scale:
        levels = {"picture": (padded, 1), "pool1": (maps["pool1"], 2)}
        levels |= {"pool2": (maps["pool2"], 4), "pool3": (maps["pool3"], 8)}
        levels |= {"pool4": (maps["pool4"], 8)}
        for level, (x, stride) in levels.items():
            x = _direct_path(x, 2 * filters, num_classes, name=f"{level}_direct")
            scores[level] = (x, stride)
    logits = blocks.CropLike(dtype="float32", name="logits")(
        [_add(_full_size(scores, padded), "fusion"), image]
    )
    outputs = logits
    if aux:
        small = blocks.AtStride(8, name="aux_scores")(_add(_every_8(scores), "scores"))
        outputs = {"logits": logits, "aux_scores": small}
    return keras.Model(image, outputs, name="deeplab_v1")


def _pool_2x2(x, stage):
    """Applies the pools of the released 4x4 network; stage 4 removes the padding."""
    if stage == 5:
        return vgg.deeplab_pool(x, stage)
    if stage == 4:
        return layers.MaxPooling2D(2, strides=1, name=f"pool{stage}")(x)
    x = layers.ZeroPadding2D(1, name=f"pool{stage}_pad")(x)
    return layers.MaxPooling2D(2, name=f"pool{stage}")(x)


def _direct_path(x, filters, num_classes, *, name):
    """Computes scores of a feature map by a small network ([Chen14] section 4.3)."""
    for i, kernel_size in enumerate((3, 1), start=1):
        x = layers.Conv2D(
            filters,
            kernel_size,
            padding="same",
            activation="relu",
            kernel_initializer=initializers.RandomNormal(stddev=0.001),
            name=f"{name}_conv{i}",
        )(x)
        x = layers.Dropout(0.5, name=f"{name}_dropout{i}")(x)
    return _score(x, num_classes, f"{name}_score")


def _score(x, num_classes, name):
    return layers.Conv2D(
        num_classes,
        1,
        kernel_initializer=initializers.RandomNormal(stddev=0.01),
        dtype="float32",
        name=name,
    )(x)


def _full_size(scores, padded):
    """Resizes all scores to the size of the image."""
    return [
        blocks.ResizeLike(stride, dtype="float32", name=f"{level}_resize")([x, padded])
        for level, (x, stride) in scores.items()
    ]


def _every_8(scores):
    """Keeps the cells at every 8th pixel."""
    return [
        layers.MaxPooling2D(
            1, strides=8 // stride, dtype="float32", name=f"{level}_every_8"
        )(x)
        for level, (x, stride) in scores.items()
    ]


def _add(maps, name):
    return layers.Add(dtype="float32", name=name)(maps) if len(maps) > 1 else maps[0]
