"""Names of the layers of encoders of segmentation_models.pytorch."""

import re
import types
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from kerasseg.weights.encoders import resnet
from kerasseg.weights.networks import Source

_ON_RESNET = (
    *("Unet", "Linknet", "FPN", "PSPNet"),
    *("DeepLabV3", "DeepLabV3Plus", "UPerNet"),
)


class Encoder(NamedTuple):
    """An encoder.

    Attributes:
        backbone: Name of the backbone, or of the variant of SegFormer.
        classes: Classes of segmentation_models.pytorch that are known with it.
        first: Name of the array of its first convolution.
        module: Function of the name of a layer to where it is in the file, or None.
        options: Options of `build_model`.
        of_class: Further ones, by the class.
    """

    backbone: str
    classes: tuple[str, ...]
    first: str
    module: Callable[[str], Source | str | None]
    options: Mapping[str, Any]
    of_class: Mapping[str, Mapping[str, Any]] = types.MappingProxyType({})


def find(shapes) -> Encoder | None:
    """Returns the encoder of a network; None if it is none of those known here."""
    for find_one in (_resnet, _mix_transformer, _convnext):
        encoder = find_one(shapes)
        if encoder is not None:
            return encoder
    return None


def _resnet(shapes):
    name = resnet.name(shapes, "encoder.")
    if name is None:
        return None
    _, inside, *_ = shapes["encoder.layer1.0.conv2.weight"]
    if inside != 64:  # Grouped, as in ResNeXt.
        return None

    return Encoder(
        backbone=name,
        classes=_ON_RESNET,
        first="encoder.conv1.weight",
        module=lambda layer: resnet.module(layer, "encoder."),
        options={
            "backbone": name,
            "stride_on": "3x3",
            "first_rate": "new",
            "normalization": "torch",
        },
        of_class={
            "PSPNet": {"stem": "standard"},
            "UPerNet": {"stem": "standard", "feature_norms": True},
        },
    )


# Number of blocks of the stages, and channels of the first.
_MIX_TRANSFORMERS: dict[tuple[tuple[int, ...], int], str] = {
    ((2, 2, 2, 2), 32): "b0",
    ((2, 2, 2, 2), 64): "b1",
    ((3, 4, 6, 3), 64): "b2",
    ((3, 4, 18, 3), 64): "b3",
    ((3, 8, 27, 3), 64): "b4",
    ((3, 6, 40, 3), 64): "b5",
}
_IN_BLOCK = {
    "attend_norm": "norm1",
    "attend_query": "attn.q",
    "attend_key_value": "attn.kv",
    "attend_reduce": "attn.sr",
    "attend_reduce_norm": "attn.norm",
    "attend_project": "attn.proj",
    "mix_norm": "norm2",
    "mix_widen": "mlp.fc1",
    "mix_depthwise": "mlp.dwconv.dwconv",
    "mix_narrow": "mlp.fc2",
}


def _mix_transformer(shapes):
    first = "encoder.patch_embed1.proj.weight"
    if first not in shapes:
        return None
    blocks = [
        re.compile(rf"encoder\.block{stage}\.\d+\.norm1\.weight")
        for stage in (1, 2, 3, 4)
    ]
    depths = tuple(sum(bool(b.fullmatch(name)) for name in shapes) for b in blocks)
    name = _MIX_TRANSFORMERS.get((depths, shapes[first][0]))
    if name is None:
        return None
    return Encoder(
        backbone=name,
        classes=("Segformer",),
        first=first,
        module=_mix_module,
        options={"normalization": "torch"},
    )


def _mix_module(layer):
    match = re.fullmatch(r"stage(\d)_(embed|embed_norm|norm|block(\d+)_(\w+))", layer)
    if match is None:
        return None
    stage, place, block, part = match.groups()
    if block:
        inner = _IN_BLOCK.get(part)
        return inner and f"encoder.block{stage}.{int(block) - 1}.{inner}"
    if place == "norm":
        return f"encoder.norm{stage}"
    part = "proj" if place == "embed" else "norm"
    return f"encoder.patch_embed{stage}.{part}"


# Number of blocks of the third stage, and channels of the first; timm's names.
_CONVNEXTS = {
    (9, 96): "convnext_tiny",
    (27, 96): "convnext_small",
    (27, 128): "convnext_base",
    (27, 192): "convnext_large",
    (27, 256): "convnext_xlarge",
}
_IN_CONVNEXT_BLOCK = {
    "depthwise_conv": "conv_dw",
    "layernorm": "norm",
    "pointwise_conv_1": "mlp.fc1",
    "pointwise_conv_2": "mlp.fc2",
}


def _convnext(shapes):
    first = "encoder.model.stem_0.weight"
    if first not in shapes:
        return None
    block = re.compile(r"encoder\.model\.stages_2\.blocks\.\d+\.gamma")
    depth = sum(bool(block.fullmatch(array)) for array in shapes)
    name = _CONVNEXTS.get((depth, shapes[first][0]))
    if name is None:
        return None
    return Encoder(
        backbone=name,
        classes=("UPerNet",),
        first=first,
        module=_convnext_module,
        options={"backbone": name, "end_norms": True, "normalization": "torch"},
    )


def _convnext_module(layer):
    start = "encoder.model"
    if match := re.fullmatch(r"convnext_[a-z]+_stem_(conv|layernorm)", layer):
        return f"{start}.stem_{0 if match[1] == 'conv' else 1}"
    if match := re.fullmatch(
        r"convnext_[a-z]+_downsampling_(layernorm|conv)_(\d)", layer
    ):
        index = 0 if match[1] == "layernorm" else 1
        return f"{start}.stages_{int(match[2]) + 1}.downsample.{index}"
    if re.fullmatch(r"convnext_[a-z]+_layer_normalization_1", layer):
        return "decoder.feature_norms.3"
    match = re.fullmatch(r"convnext_[a-z]+_stage_(\d)_block_(\d+)_(\w+)", layer)
    if match is None:
        return None
    stage, number, part = match.groups()
    block = f"{start}.stages_{stage}.blocks.{number}"
    if part == "layer_scale":
        return Source(names={"gamma": f"{block}.gamma"})
    inner = _IN_CONVNEXT_BLOCK.get(part)
    return inner and f"{block}.{inner}"
