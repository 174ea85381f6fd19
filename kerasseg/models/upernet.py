"""UPerNet (Xiao et al., 2018): pyramid pooling and a feature pyramid network."""

from collections.abc import Sequence

import keras
from keras import initializers, layers

from kerasseg import backbones, blocks, models

_BINS = (1, 2, 3, 6)


@models.register(
    paper="https://arxiv.org/abs/1807.10221",
    params=64_222_294,
    macs=249_099_481_792,
    output_stride=32,
    setting={"num_classes": 150, "backbone": "resnet50"},
    test_options={"backbone": "resnet18_quarter", "filters": 16},
)
def upernet(
    num_classes: int,
    image_size: Sequence[int | None],
    *,
    backbone: str = "resnet50",
    backbone_weights: str | None = None,
    stem: str = "deep",
    filters: int = 512,
    aux: bool = False,
    convolve_first: bool = False,
    feature_norms: bool = False,
    resize: str = "half_pixel",
    logits_resize: str | None = None,
) -> keras.Model:
    """Builds UPerNet for a single task ([Xiao18] section 4.1, figure 4).

    The layers are those of the authors' code for scene parsing (CSAILVision), with
    adaptive average pooling instead of precise RoI pooling, and half-pixel centers.

    Args:
        num_classes: Number of classes.
        image_size: Height and width in pixels; None where they vary.
        backbone: Name of the backbone; see `backbones.list_backbones`.
        backbone_weights: See `backbones.build`.
        stem: Stem of a ResNet: "deep" as in the authors' networks, or "standard", which
            the ImageNet weights of Keras need. Ignored for other backbones.
        filters: Channels of the decoder; 512 in the authors' code.
        aux: Whether to return "aux_c4" too, logits computed from "c4" at full size. The
            authors have none; OpenMMLab trains it with weight 0.4.
        convolve_first: Whether maps of the pyramid are convolved at their own size, as
            in OpenMMLab and Hugging Face, and not after they are resized.
        feature_norms: Whether the maps "c2" to "c5" are layer normalized first, as in
            segmentation_models.pytorch.
        resize: How maps and logits are resized, "half_pixel" as in the authors' code,
            or "corners".
        logits_resize: How logits are resized; None as `resize`. "corners" in
            segmentation_models.pytorch.

    Returns:
        A model from images to logits; see `models.build_model`.
    """
    image, padded = blocks.image_input(image_size, backbones.normalization(backbone))
    has_stem = "stem" in backbones.list_options(backbone)
    options: dict = {"stem": stem} if has_stem else {}
    c = backbones.build(backbone, padded, weights=backbone_weights, **options)
    if feature_norms:
        c = {key: _norm(x, key) for key, x in c.items() if key != "c1"}
    p = {5: pyramid_pooling(c["c5"], filters, convolve_first, resize)}
    for level in (4, 3, 2):
        x = blocks.conv_bn_relu(c[f"c{level}"], filters, 1, name=f"lateral{level}")
        above = blocks.ResizeLike(resize=resize, name=f"above{level}")(
            [p[level + 1], x]
        )
        p[level] = layers.Add(name=f"merge{level}")([x, above])
    maps = [
        blocks.conv_bn_relu(p[level], filters, name=f"smooth{level}")
        for level in (2, 3, 4)
    ]
    maps.append(p[5])
    for i, level in enumerate((3, 4, 5), start=1):
        to_fuse = blocks.ResizeLike(resize=resize, name=f"to_fuse{level}")
        maps[i] = to_fuse([maps[i], maps[0]])
    x = layers.Concatenate(name="fuse_concat")(maps)
    x = blocks.conv_bn_relu(x, filters, name="fuse")
    x = _classifier(num_classes, "classify")(x)
    last = logits_resize or resize
    logits = blocks.full_size_logits(x, padded, image, resize=last)
    if not aux:
        return keras.Model(image, logits, name="upernet")
    x = blocks.conv_bn_relu(c["c4"], filters // 2, name="aux_c4")
    x = layers.Dropout(0.1, name="aux_c4_dropout")(x)
    x = _classifier(num_classes, "aux_c4_classify")(x)
    x = blocks.full_size_logits(x, padded, image, resize=last, name="aux_c4")
    return keras.Model(image, {"logits": logits, "aux_c4": x}, name="upernet")


def _norm(x, key):
    return layers.LayerNormalization(epsilon=1e-6, name=f"{key}_norm")(x)


def pyramid_pooling(
    x, filters: int, convolve_first: bool = False, resize: str = "half_pixel"
):
    """Applies pyramid pooling ([Zhao17] section 3.2).

    Pooled maps are resized before they are convolved, as in the authors' code, so that
    batch normalization weights each bin by its number of cells; with `convolve_first`
    afterwards.
    """
    maps = [x]
    for bins in _BINS:
        name = f"pyramid{bins}"
        mean = blocks.AdaptiveAveragePool(bins, name=f"{name}_mean")(x)
        spread = blocks.ResizeLike(resize=resize, name=f"{name}_spread")
        if convolve_first:
            mean = blocks.conv_bn_relu(mean, filters, 1, name=name)
            maps.append(spread([mean, x]))
        else:
            mean = blocks.conv_bn_relu(spread([mean, x]), filters, 1, name=name)
            maps.append(mean)
    x = layers.Concatenate(name="pyramid_concat")(maps)
    return blocks.conv_bn_relu(x, filters, name="pyramid_project")


def _classifier(num_classes, name):
    return layers.Conv2D(
        num_classes,
        1,
        kernel_initializer=initializers.RandomNormal(stddev=0.01),
        dtype="float32",
        name=name,
    )
