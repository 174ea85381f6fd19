"""MMSegmentation's SegFormer, whose head has batch normalization and ReLU."""

import functools
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from kerasseg.weights.families import mmseg_names
from kerasseg.weights.networks import Network, Shapes, Source

_VARIANTS: Mapping[tuple[int, tuple[int, ...]], str] = {  # By channels and depths.
    (32, (2, 2, 2, 2)): "segformer_b0",
    (64, (2, 2, 2, 2)): "segformer_b1",
    (64, (3, 4, 6, 3)): "segformer_b2",
    (64, (3, 4, 18, 3)): "segformer_b3",
    (64, (3, 8, 27, 3)): "segformer_b4",
    (64, (3, 6, 40, 3)): "segformer_b5",
}
_BLOCK = {
    "attend_norm": "norm1",
    "attend_project": "attn.attn.out_proj",
    "attend_reduce": "attn.sr",
    "attend_reduce_norm": "attn.norm",
    "mix_norm": "norm2",
    "mix_widen": "ffn.layers.0",
    "mix_depthwise": "ffn.layers.1",
    "mix_narrow": "ffn.layers.4",
}


def recognize(shapes: Shapes, config: Mapping[str, Any]) -> Network | None:
    """Recognizes SegFormer B0 to B5."""
    first = shapes.get("backbone.layers.0.0.projection.weight")
    parts = mmseg_names.head_parts(shapes)
    if first is None or parts != {"convs", "fusion_conv", "conv_seg"}:
        return None
    depths = []
    for stage in range(4):
        pattern = rf"backbone\.layers\.{stage}\.1\.(\d+)\.norm1\.weight"
        depths.append(sum(re.fullmatch(pattern, name) is not None for name in shapes))
    model = _VARIANTS.get((first[0], tuple(depths)))
    if model is None or config.get("align_corners"):
        return None
    num_classes, filters = shapes["decode_head.conv_seg.weight"][:2]
    return Network(
        family="mmsegmentation",
        model=model,
        options={
            "head_filters": filters,
            "head_norm": True,
            "embed_epsilon": 1e-6,
            "normalization": "torch",
        },
        source=_source,
        unused=mmseg_names.UNUSED,
        **mmseg_names.classes(num_classes),
    )


def _source(layer):
    if match := re.fullmatch(r"stage(\d)_embed(_norm)?", layer):
        part = "norm" if match[2] else "projection"
        return f"backbone.layers.{int(match[1]) - 1}.0.{part}"
    if match := re.fullmatch(r"stage(\d)_norm", layer):
        return f"backbone.layers.{int(match[1]) - 1}.2"
    if match := re.fullmatch(r"stage(\d)_block(\d+)_(\w+)", layer):
        stage, block = int(match[1]) - 1, int(match[2]) - 1
        return _in_block(f"backbone.layers.{stage}.1.{block}.", match[3])
    if match := re.fullmatch(r"head_c(\d)_(conv|bn)", layer):
        return f"decode_head.convs.{int(match[1]) - 2}.{match[2]}"
    if layer == "head_fuse_conv":
        return Source("decode_head.fusion_conv.conv", _reversed)
    return {
        "head_fuse_bn": "decode_head.fusion_conv.bn",
        "classify": "decode_head.conv_seg",
    }.get(layer)


def _in_block(start, part):
    if part in _BLOCK:
        return start + _BLOCK[part]
    thirds = {"attend_query": slice(0, 1), "attend_key_value": slice(1, 3)}
    if part not in thirds:
        return None
    return Source(
        change=functools.partial(_thirds, thirds[part]),
        names={
            "kernel": f"{start}attn.attn.in_proj_weight",
            "bias": f"{start}attn.attn.in_proj_bias",
        },
    )


def _thirds(which: slice, array: np.ndarray, name: str) -> np.ndarray:
    """Returns thirds of the output channels: those of query, key and value."""
    del name
    thirds = array.reshape(*array.shape[:-1], 3, -1)[..., which, :]
    return thirds.reshape(*array.shape[:-1], -1)


def _reversed(kernel: np.ndarray, name: str) -> np.ndarray:
    """Reverses the four maps that are input: theirs are "c2" to "c5"."""
    del name
    quarters = np.split(kernel, 4, axis=2)
    return np.concatenate(quarters[::-1], axis=2)
