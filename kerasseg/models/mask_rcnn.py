"""Mask R-CNN (He et al., 2017): boxes, classes and masks of objects."""

from collections.abc import Sequence

import keras
from keras import initializers, layers

from kerasseg import backbones, blocks, errors, models
from kerasseg.backbones import resnet

_RATIOS = (0.5, 1.0, 2.0)
_BATCH_NORMS = ("frozen", "affine", "trained")
_PAPER = "https://arxiv.org/abs/1703.06870"
_SMALL = {"backbone": "resnet18_quarter", "freeze_at": 0, "batch_norm": "trained"}


@models.register(
    kind="instance",
    paper=_PAPER,
    params=44_401_393,
    macs=121_701_530_112,
    output_stride=32,
    setting={"num_classes": 90, "backbone": "resnet50", "freeze_at": 0},
    test_options={
        **_SMALL,
        "filters": 16,
        "units": 32,
        "num_proposals": 40,
        "num_detections": 10,
    },
)
def mask_rcnn(
    num_classes: int,
    image_size: Sequence[int | None],
    *,
    backbone: str = "resnet101",
    backbone_weights: str | None = None,
    stem: str = "standard",
    stride_on: str = "1x1",
    normalization: str | None = None,
    batch_norm: str = "frozen",
    freeze_at: int = 2,
    filters: int = 256,
    units: int = 1024,
    anchor_sizes: Sequence[int] = (32, 64, 128, 256, 512),
    roi_aligned: bool = True,
    num_proposals: int = 1000,
    num_detections: int = 100,
    score_threshold: float = 0.05,
) -> keras.Model:
    """Builds Mask R-CNN with a feature pyramid ([He17] section 3, figure 4 right).

    The layers and their initialization are those of the authors' Detectron. The model
    detects objects; the outputs and losses of training are computed from its layers.

    Args:
        num_classes: Number of classes of objects, without background.
        image_size: Height and width in pixels; None where they vary.
        backbone: Name of the backbone; see `backbones.list_backbones`.
        backbone_weights: See `backbones.build`.
        stem: Stem of a ResNet, see `backbones.resnet`. Ignored for other backbones.
        stride_on: Convolution of a ResNet's bottleneck that has the stride: "1x1" as in
            Detectron, or "3x3" as in torchvision. Ignored for other backbones.
        normalization: One of `blocks.NORMALIZATIONS`; None for that of the backbone.
        batch_norm: Batch normalization of the backbone: "frozen" as in Detectron,
            "affine" (scale and shift are trained, the statistics are frozen), or
            "trained", for networks that start without pretrained weights.
        freeze_at: Number of stages of the backbone that are not trained, from 0 to 5; 2
            in Detectron: the stem and the first stage of blocks.
        filters: Channels of the pyramid, its heads and the mask branch.
        units: Units of the two fully connected layers of the box head.
        anchor_sizes: Sides of the anchors in pixels, one for each level of the pyramid,
            P2 to P6.
        roi_aligned: Whether RoIAlign takes the centers of pixels into account; False as
            in torchvision's network. See `instances.roi_align`.
        num_proposals: Number of regions that are classified; 1000 in the paper.
        num_detections: Number of objects in the output; 100 in the paper.
        score_threshold: Smallest score of an object.

    Returns:
        A model from images, `[batch, height, width, 3]`, RGB, 0 to 255, to a dict of
        detections, the best first: "boxes", float32 `[batch, num_detections, 4]`, (y1,
        x1, y2, x2) in pixels; "scores", float32 `[batch, num_detections]`; "classes",
        int32 `[batch, num_detections]`, from 1; "masks", float32 `[batch,
        num_detections, 28, 28]`, the probability that a cell of the box belongs to the
        object; and "valid", bool `[batch, num_detections]`, false in the padding, where
        the others are 0.
    """
    _check_anchors(anchor_sizes, 5)
    _check_frozen(batch_norm, freeze_at)
    image, padded = _image_input(image_size, backbone, normalization)
    options: dict = {"stem": stem, "stride_on": stride_on}
    known = backbones.list_options(backbone)
    options = {name: options[name] for name in options if name in known}
    c = backbones.build(backbone, padded, weights=backbone_weights, **options)
    _freeze(padded, c, batch_norm, freeze_at)
    p = feature_pyramid(c, filters)
    rpn = _proposal_network(p, filters)
    strides = tuple(2 ** int(name[1:]) for name in p)
    proposals = blocks.Proposals(
        anchor_sizes, _RATIOS, strides, num_proposals, name="proposals"
    )([image, *rpn])
    box_head = _fpn_box_head(num_classes, filters, units)
    mask_head = _fpn_mask_head(num_classes, filters)
    return _detector(
        "mask_rcnn",
        image,
        proposals,
        {name: p[name] for name in ("p2", "p3", "p4", "p5")},
        heads=(box_head, mask_head),
        roi_aligned=roi_aligned,
        num_detections=num_detections,
        score_threshold=score_threshold,
    )


@models.register(
    kind="instance",
    paper=_PAPER,
    params=35_918_065,
    macs=333_220_536_320,
    output_stride=16,
    setting={"num_classes": 80, "backbone": "resnet50", "freeze_at": 0},
    test_options={**_SMALL, "filters": 16, "num_proposals": 20, "num_detections": 5},
)
def mask_rcnn_c4(
    num_classes: int,
    image_size: Sequence[int | None],
    *,
    backbone: str = "resnet101",
    backbone_weights: str | None = None,
    stem: str = "standard",
    stride_on: str = "1x1",
    normalization: str | None = None,
    batch_norm: str = "frozen",
    freeze_at: int = 2,
    filters: int = 256,
    anchor_sizes: Sequence[int] = (32, 64, 128, 256, 512),
    roi_aligned: bool = True,
    num_proposals: int = 300,
    num_detections: int = 100,
    score_threshold: float = 0.05,
) -> keras.Model:
    """Builds Mask R-CNN without a pyramid ([He17] section 3, figure 4 left).

    Regions are taken from "c4", at stride 16; the last stage of the ResNet is applied
    to each of them. Masks have 14x14 cells.

    Args:
        num_classes: Number of classes of objects, without background.
        image_size: Height and width in pixels; None where they vary.
        backbone: Name of a ResNet, see `backbones.list_backbones`.
        backbone_weights: See `backbones.build`.
        stem: See `mask_rcnn`.
        stride_on: See `mask_rcnn`.
        normalization: See `mask_rcnn`.
        batch_norm: See `mask_rcnn`.
        freeze_at: See `mask_rcnn`.
        filters: Channels of the mask branch.
        anchor_sizes: Sides of the anchors in pixels.
        roi_aligned: See `mask_rcnn`.
        num_proposals: Number of regions that are classified; 300 in the paper.
        num_detections: See `mask_rcnn`.
        score_threshold: See `mask_rcnn`.

    Returns:
        A model from images to detections, see `mask_rcnn`.

    Raises:
        errors.UserError: The backbone is not a ResNet.
    """
    _check_anchors(anchor_sizes)
    _check_frozen(batch_norm, freeze_at)
    if backbone not in resnet.VARIANTS:
        raise errors.UserError(
            f"`backbone={backbone}` of 'mask_rcnn_c4' must be a ResNet, whose last "
            f"stage can be applied to regions: one of {sorted(resnet.VARIANTS)}. "
            f"'mask_rcnn' accepts every backbone."
        )
    image, padded = _image_input(image_size, backbone, normalization)
    c = backbones.build(
        backbone, padded, weights=backbone_weights, stem=stem, stride_on=stride_on
    )
    _freeze(padded, c, batch_norm, freeze_at)
    stage = resnet.last_stage(backbone, keras.Model(padded, c))
    rpn = _proposal_network({"p4": c["c4"]}, c["c4"].shape[-1], len(anchor_sizes))
    proposals = blocks.Proposals(
        [anchor_sizes], _RATIOS, (16,), num_proposals, name="proposals"
    )([image, *rpn])
    return _detector(
        "mask_rcnn_c4",
        image,
        proposals,
        {"p4": c["c4"]},
        heads=(
            _c4_box_head(num_classes, stage.output_shape[1:]),
            _c4_mask_head(num_classes, filters, stage.output_shape[1:]),
        ),
        stage=stage,
        roi_aligned=roi_aligned,
        num_detections=num_detections,
        score_threshold=score_threshold,
    )


def feature_pyramid(c: dict, filters: int) -> dict:
    """Builds a feature pyramid network ([Lin17] section 3, without activations).

    Args:
        c: Feature maps "c2" to "c5"; each has half the sides of the one before.
        filters: Number of channels.

    Returns:
        Maps "p2" to "p6"; "p6" is every other cell of "p5".
    """
    inner: dict = {}
    p: dict = {}
    for level in (5, 4, 3, 2):
        x = _conv(filters, 1, name=f"fpn_lateral{level}")(c[f"c{level}"])
        if level < 5:
            above = layers.UpSampling2D(2, name=f"fpn_above{level}")(inner[level + 1])
            x = layers.Add(name=f"fpn_merge{level}")([x, above])
        inner[level] = x
    for level in (2, 3, 4, 5):
        p[f"p{level}"] = _conv(filters, 3, name=f"p{level}")(inner[level])
    p["p6"] = layers.MaxPooling2D(1, strides=2, padding="same", name="p6")(p["p5"])
    return p


def _image_input(image_size, backbone, normalization):
    """Creates the input, and the normalized image whose sides are multiples of 32."""
    kind = normalization or backbones.normalization(backbone)
    image, x = blocks.image_input(image_size, kind)
    return image, blocks.PadToMultiple(32, dtype="float32", name="pad_to_32")(x)


def _check_anchors(sizes, count=None):
    if (count and len(sizes) != count) or not sizes or min(sizes) <= 0:
        expected = f"{count} sides" if count else "sides"
        raise errors.UserError(
            f"`anchor_sizes={tuple(sizes)}`: expected {expected} in pixels above 0, "
            f"such as (32, 64, 128, 256, 512)."
        )


def _check_frozen(batch_norm, freeze_at):
    if batch_norm not in _BATCH_NORMS:
        raise errors.UserError(
            f"`batch_norm={batch_norm}` must be one of {_BATCH_NORMS}."
        )
    if not 0 <= freeze_at <= 5:
        raise errors.UserError(f"`freeze_at={freeze_at}` must be from 0 to 5.")


def _freeze(padded, c, batch_norm, freeze_at):
    """Freezes batch norm, and the layers of the first stages."""
    for layer in keras.Model(padded, c).layers:
        if isinstance(layer, blocks.BatchNormalization):
            layer.trainable = batch_norm != "frozen"
            layer.frozen_statistics = batch_norm == "affine"
    names = [f"c{k}" for k in range(1, freeze_at + 1) if f"c{k}" in c]
    if names:
        for layer in keras.Model(padded, c[names[-1]]).layers:
            layer.trainable = False


def _proposal_network(p, filters, num_sizes=1):
    """Applies the region proposal network, which all levels share.

    Returns:
        The objectness of each level, then the box deltas of each.
    """
    num_anchors = num_sizes * len(_RATIOS)
    near_zero = {"kernel_initializer": initializers.RandomNormal(stddev=0.01)}
    shared = layers.Conv2D(
        filters, 3, padding="same", activation="relu", name="rpn_conv", **near_zero
    )
    objectness = layers.Conv2D(
        num_anchors, 1, dtype="float32", name="rpn_objectness", **near_zero
    )
    deltas = layers.Conv2D(
        4 * num_anchors, 1, dtype="float32", name="rpn_deltas", **near_zero
    )
    maps = [shared(x) for x in p.values()]
    return [*map(objectness, maps), *map(deltas, maps)]


def _fpn_box_head(num_classes, filters, units):
    rois = keras.Input((7, 7, filters), name="box_rois")
    x = layers.Flatten(name="box_flatten")(rois)
    for i in (1, 2):
        x = layers.Dense(units, activation="relu", name=f"box_fc{i}")(x)
    return keras.Model(rois, _box_outputs(x, num_classes), name="box_head")


def _c4_box_head(num_classes, shape):
    rois = keras.Input(shape, name="box_rois")
    x = layers.GlobalAveragePooling2D(name="box_mean")(rois)
    return keras.Model(rois, _box_outputs(x, num_classes), name="box_head")


def _box_outputs(x, num_classes):
    """Returns class logits, background first, and the box deltas of each class."""
    scores = layers.Dense(
        num_classes + 1,
        kernel_initializer=initializers.RandomNormal(stddev=0.01),
        dtype="float32",
        name="box_scores",
    )
    deltas = layers.Dense(
        4 * (num_classes + 1),
        kernel_initializer=initializers.RandomNormal(stddev=0.001),
        dtype="float32",
        name="box_deltas",
    )
    return [scores(x), deltas(x)]


def _fpn_mask_head(num_classes, filters):
    rois = x = keras.Input((14, 14, filters), name="mask_rois")
    for i in (1, 2, 3, 4):
        x = _conv(filters, 3, activation="relu", name=f"mask_conv{i}")(x)
    return keras.Model(rois, _mask_output(x, num_classes, filters), name="mask_head")


def _c4_mask_head(num_classes, filters, shape):
    rois = keras.Input(shape, name="mask_rois")
    x = _mask_output(rois, num_classes, filters)
    return keras.Model(rois, x, name="mask_head")


def _mask_output(x, num_classes, filters):
    """Returns the mask logits of each class; those of background are not used."""
    x = layers.Conv2DTranspose(
        filters,
        2,
        strides=2,
        activation="relu",
        kernel_initializer="he_normal",
        name="mask_deconv",
    )(x)
    return layers.Conv2D(
        num_classes + 1,
        1,
        kernel_initializer="he_normal",
        dtype="float32",
        name="mask_scores",
    )(x)


def _conv(filters, kernel_size, *, activation=None, name):
    """Creates a convolution with a bias, initialized as in Detectron."""
    kind = "he_normal" if activation else "glorot_uniform"
    return layers.Conv2D(
        filters,
        kernel_size,
        padding="same",
        activation=activation,
        kernel_initializer=kind,
        name=name,
    )


def _detector(
    name,
    image,
    proposals,
    maps,
    *,
    heads,
    stage=None,
    roi_aligned,
    num_detections,
    score_threshold,
):
    """Connects the heads of the second stage, and selects the detections."""
    strides = tuple(2 ** int(level[1:]) for level in maps)
    regions, are_regions = proposals
    box_head, mask_head = heads

    def rois(boxes, head, layer_name):
        side = (stage or head).input_shape[1]
        layer = blocks.RoiAlign(side, strides, roi_aligned, name=layer_name)
        x = layer([boxes, *maps.values()])
        return x if stage is None else stage(x)

    scores, deltas = box_head(rois(regions, box_head, "box_roi_align"))
    boxes, scores, classes, valid = blocks.Detections(
        num_detections, score_threshold, name="detections"
    )([image, regions, are_regions, scores, deltas])
    logits = mask_head(rois(boxes, mask_head, "mask_roi_align"))
    masks = blocks.MasksOfClasses(name="masks")([logits, classes, valid])
    outputs = {
        "boxes": boxes,
        "scores": scores,
        "classes": classes,
        "masks": masks,
        "valid": valid,
    }
    return keras.Model(image, outputs, name=name)
