"""ConvNeXt with the names of torchvision and timm.

Sources: torchvision/models/convnext.py of https://github.com/pytorch/vision, version
0.29.1, and timm/models/convnext.py of
https://github.com/huggingface/pytorch-image-models, version 1.0.31.
"""

import functools
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from kerasseg.weights.networks import Shapes, Source


class _Style(NamedTuple):
    """Names of a library.

    Attributes:
        stem: Name of the stem.
        reduction: Name of what reduces the size after a stage, whose number is `{}`.
        block: Name of a block, by the numbers of the stage and of the block.
        parts: Names in a block, by the names in ours.
        scale: Name of the array of the layer scale.
        norm: Name of the last normalization.
    """

    stem: str
    reduction: Callable[[int], str]
    block: Callable[[int, int], str]
    parts: Mapping[str, str]
    scale: str
    norm: str


_PARTS = ("depthwise_conv", "layernorm", "pointwise_conv_1", "pointwise_conv_2")
TORCHVISION = _Style(
    "features.0",
    lambda stage: f"features.{2 * stage + 2}",
    lambda stage, block: f"features.{2 * stage + 1}.{block}",
    dict(zip(_PARTS, [f"block.{i}" for i in (0, 2, 3, 5)], strict=True)),
    "layer_scale",
    "classifier.0",
)
TIMM = _Style(
    "stem",
    lambda stage: f"stages.{stage + 1}.downsample",
    lambda stage, block: f"stages.{stage}.blocks.{block}",
    dict(zip(_PARTS, ("conv_dw", "norm", "mlp.fc1", "mlp.fc2"), strict=True)),
    "gamma",
    "head.norm",
)
# By the number of blocks of the third stage, and the channels of the first.
_NETWORKS = {
    (9, 96): "convnext_tiny",
    (27, 96): "convnext_small",
    (27, 128): "convnext_base",
    (27, 192): "convnext_large",
    (27, 256): "convnext_xlarge",
}


def find(shapes: Shapes, style: _Style) -> tuple[str, Callable] | None:
    """Returns the backbone of a file, and its `Network.source`; None for another file.

    Args:
        shapes: Shapes of the arrays of the file.
        style: `TORCHVISION` or `TIMM`.
    """
    depth = 0
    while f"{style.block(2, depth)}.{style.scale}" in shapes:
        depth += 1
    channels, *_ = shapes.get(f"{style.stem}.0.weight", (0,))
    name = _NETWORKS.get((depth, channels))
    return (name, functools.partial(_source, style)) if name else None


def _flat(scale, name):
    del name
    return scale.reshape(-1)


def _source(style, layer):
    if re.fullmatch(r"c[2-4]_norm", layer):  # Of the head: they are not pretrained.
        return Source(defaults={"gamma": 1.0, "beta": 0.0})
    match = re.fullmatch(r"convnext_[a-z]+_(.*)", layer)
    if match is None:
        return None
    part = match[1]
    if part in ("stem_conv", "stem_layernorm"):
        return f"{style.stem}.{0 if part == 'stem_conv' else 1}"
    if match := re.fullmatch(r"downsampling_(layernorm|conv)_(\d)", part):
        number = 0 if match[1] == "layernorm" else 1
        return f"{style.reduction(int(match[2]))}.{number}"
    if re.fullmatch(r"layer_normalization_\d+", part):
        return style.norm
    match = re.fullmatch(r"stage_(\d)_block_(\d+)_(\w+)", part)
    if match is None:
        return None
    block = style.block(int(match[1]), int(match[2]))
    if match[3] == "layer_scale":
        scale = {"gamma": f"{block}.{style.scale}"}
        return Source(names=scale, change=_flat)
    return f"{block}.{style.parts[match[3]]}" if match[3] in style.parts else None
