"""MMSegmentation's BiSeNetV2.

Its auxiliary heads, two convolutions and a classifier at the stride of each stage, are
not those of `models.bisenet_v2`, and are left out: they are for training only.
"""

import re
from collections.abc import Mapping
from typing import Any

from kerasseg.weights.families import mmseg_names
from kerasseg.weights.networks import Network, Shapes

_MODULES = {
    "stem_start": "semantic.stage1.conv_first",
    "stem_left1": "semantic.stage1.convs.0",
    "stem_left2": "semantic.stage1.convs.1",
    "stem_fuse": "semantic.stage1.fuse_last",
    "context_embed": "semantic.stage4_CEBlock.conv_gap",
    "context_last": "semantic.stage4_CEBlock.conv_last",
    "guide_coarse": "bga.detail_down.0",
    "guide_fine_sense": "bga.semantic_conv.0",
    "guide_last": "bga.conv",
}
_LAYERS = {
    "context_mean_bn": "backbone.semantic.stage4_CEBlock.gap.1",
    "guide_fine_depthwise": "backbone.bga.detail_dwconv.0.depthwise_conv.conv",
    "guide_fine_bn": "backbone.bga.detail_dwconv.0.depthwise_conv.bn",
    "guide_fine_point": "backbone.bga.detail_dwconv.0.pointwise_conv.conv",
    "guide_coarse_sense_depthwise": (
        "backbone.bga.semantic_dwconv.0.depthwise_conv.conv"
    ),
    "guide_coarse_sense_bn": "backbone.bga.semantic_dwconv.0.depthwise_conv.bn",
    "guide_coarse_point": "backbone.bga.semantic_dwconv.0.pointwise_conv.conv",
    "head_conv": "decode_head.convs.0.conv",
    "head_bn": "decode_head.convs.0.bn",
    "classify": "decode_head.conv_seg",
}
_UNIT = {  # Of a gather-and-expansion layer.
    "gather": "conv1",
    "expand": "dwconv.0",
    "depthwise": "dwconv.1",
    "project": "conv2.0",
    "short": "shortcut.0.depthwise_conv",
    "short_project": "shortcut.0.pointwise_conv",
}


def recognize(shapes: Shapes, config: Mapping[str, Any]) -> Network | None:
    """Recognizes BiSeNetV2."""
    first = shapes.get("backbone.detail.detail_branch.0.0.conv.weight")
    if first is None or "backbone.bga.conv.conv.weight" not in shapes:
        return None
    if config.get("align_corners"):
        return None  # No published network has it.
    return Network(
        family="mmsegmentation",
        model="bisenet_v2",
        options={"filters": first[0], "point_bias": True, "normalization": "torch"},
        source=_source,
        unused=(*mmseg_names.UNUSED, r"auxiliary_head\..*"),
        **mmseg_names.classes(shapes["decode_head.conv_seg.weight"][0]),
    )


def _source(layer):
    if layer in _LAYERS:
        return _LAYERS[layer]
    base, _, part = layer.rpartition("_")
    if part == "depthwise":  # The convolution of a depthwise layer.
        part = "conv"
    if part not in ("conv", "bn"):
        return None
    module = _MODULES.get(base)
    if match := re.fullmatch(r"detail(\d)_(\d)", base):
        stage, unit = int(match[1]) - 1, int(match[2]) - 1
        module = f"detail.detail_branch.{stage}.{unit}"
    elif match := re.fullmatch(r"stage(\d)_(\d)_(\w+)", base):
        stage, unit = int(match[1]) - 1, int(match[2]) - 1
        module = f"semantic.stage{stage}.{unit}.{_UNIT[match[3]]}"
    return None if module is None else f"backbone.{module}.{part}"
