"""Semantic FPN (Kirillov et al., 2019): the semantic branch of Panoptic FPN."""

from collections.abc import Sequence

import keras
from keras import initializers, layers

from kerasseg import backbones, blocks, errors, models

_GROUP = 4  # Channels per group of group normalization.


@models.register(
    paper="https://arxiv.org/abs/1901.02446",
    params=28_478_933,
    macs=44_527_103_808,
    output_stride=32,
    setting={"backbone": "resnet50"},
    test_options={"backbone": "resnet18_quarter", "filters": 32},
)
def fpn(
    num_classes: int,
    image_size: Sequence[int | None],
    *,
    backbone: str = "resnet50",
    backbone_weights: str | None = None,
    filters: int = 256,
    smooth: bool = True,
    resize: str = "half_pixel",
) -> keras.Model:
    """Builds a Semantic FPN ([Kirillov19] sections 3 and 4.1, figure 3).

    The paper does not state the interpolation. As in the authors' Detectron2, it is
    nearest neighbor in the pyramid, and bilinear with half-pixel centers in the
    branches.

    Args:
        num_classes: Number of classes.
        image_size: Height and width in pixels; None where they vary.
        backbone: Name of the backbone; see `backbones.list_backbones`.
        backbone_weights: See `backbones.build`.
        filters: Channels of the pyramid, a multiple of 8. The branches have half as
            many.
        smooth: Whether to apply a 3x3 convolution to each level of the pyramid, as in
            the paper of FPN ([Lin17] section 3); some implementations do not.
        resize: How the branches and the logits are resized: "half_pixel" or "corners".

    Returns:
        A model from images to logits; see `models.build_model`.
    """
    if filters % (2 * _GROUP):
        raise errors.UserError(
            f"`filters={filters}` of 'fpn' must be a multiple of {2 * _GROUP}, because "
            f"the branches normalize groups of {_GROUP} channels."
        )
    image, padded = blocks.image_input(image_size, backbones.normalization(backbone))
    c = backbones.build(backbone, padded, weights=backbone_weights)
    p = pyramid(c, filters, smooth)
    branches = [_branch(p, level, filters // 2, resize) for level in (2, 3, 4, 5)]
    x = layers.Add(name="sum")(branches)
    x = layers.Conv2D(
        num_classes,
        1,
        kernel_initializer=initializers.RandomNormal(stddev=0.01),
        dtype="float32",
        name="classify",
    )(x)
    logits = blocks.full_size_logits(x, padded, image, resize=resize)
    return keras.Model(image, logits, name="fpn")


def pyramid(c, filters: int, smooth):
    """Builds the top-down pathway ([Lin17] figure 3).

    Returns:
        Dict of the levels 2 to 5, each of the size of its "c<level>".
    """
    p: dict = {}
    for level in (5, 4, 3, 2):
        x = layers.Conv2D(filters, 1, name=f"lateral{level}")(c[f"c{level}"])
        if level < 5:
            above = blocks.UpSampling2D(2, name=f"above{level}_double")(p[level + 1])
            above = blocks.CropLike(name=f"above{level}")([above, x])
            x = layers.Add(name=f"merge{level}")([x, above])
        p[level] = x
    if smooth:
        for level, x in p.items():
            conv = layers.Conv2D(filters, 3, padding="same", name=f"smooth{level}")
            p[level] = conv(x)
    return p


def _branch(p, level, filters, resize):
    """Upsamples one level to the size of level 2 in steps of 2."""
    x = p[level]
    for step in range(max(level - 2, 1)):
        name = f"branch{level}_{step + 1}"
        x = layers.Conv2D(
            filters,
            3,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
            name=f"{name}_conv",
        )(x)
        norm = layers.GroupNormalization(
            filters // _GROUP, epsilon=1e-5, name=f"{name}_gn"
        )
        x = layers.ReLU(name=f"{name}_relu")(norm(x))
        if level > 2:
            up = blocks.ResizeLike(resize=resize, name=f"{name}_up")
            x = up([x, p[level - 1 - step]])
    return x
