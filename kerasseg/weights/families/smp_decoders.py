"""Names of the layers of the decoders of segmentation_models.pytorch.

Each function takes the name of a layer of our network and the shapes of the arrays of
the file, and returns where the layer is in the file; None if it is nowhere.
"""

import re

import numpy as np

from kerasseg.weights.families.torchvision import image_first
from kerasseg.weights.networks import Source

_BINS = (1, 2, 3, 6)
_PARTS = {"conv": 0, "bn": 1, "gn": 1}


def unet(layer, shapes):
    """U-Net: its concatenations have the map from below first, ours the link."""
    match = re.fullmatch(r"expand(\d)_(\d)_(conv|bn)", layer)
    if match is None:
        return None
    level, number, part = match.groups()
    block = 4 - int(level)
    module = f"decoder.blocks.{block}.conv{number}.{_PARTS[part]}"
    if (number, part) != ("1", "conv"):
        return module
    return Source(module, _link_first(_channels_below(shapes, block)))


def _channels_below(shapes, block):
    if block:
        return shapes[f"decoder.blocks.{block - 1}.conv2.0.weight"][0]
    convolution = "encoder.layer4.0.conv3.weight"
    if convolution not in shapes:
        convolution = "encoder.layer4.0.conv2.weight"
    return shapes[convolution][0]


def _link_first(below):
    """Moves the input channels of the link to the start."""

    def change(kernel: np.ndarray, name: str) -> np.ndarray:
        del name
        return np.roll(kernel, -below, axis=2)

    return change


def linknet(layer, shapes):
    """LinkNet."""
    del shapes
    match = re.fullmatch(r"decoder(\d)_(narrow|up|widen)_(conv|bn)", layer)
    if match is None:
        return None
    level, place, part = match.groups()
    number = ("narrow", "up", "widen").index(place)
    return f"decoder.blocks.{4 - int(level)}.block.{number}.{_PARTS[part]}"


def fpn(layer, shapes):
    """FPN."""
    del shapes
    if layer == "lateral5":
        return "decoder.p5"
    if match := re.fullmatch(r"lateral(\d)", layer):
        return f"decoder.p{match[1]}.skip_conv"
    match = re.fullmatch(r"branch(\d)_(\d)_(conv|gn)", layer)
    if match is None:
        return None
    level, step, part = match.groups()
    start = f"decoder.seg_blocks.{5 - int(level)}.block.{int(step) - 1}"
    return f"{start}.block.{_PARTS[part]}"


def pspnet(layer, shapes):
    """PSPNet: its concatenation has the map last, ours first."""
    del shapes
    if match := re.fullmatch(r"pyramid_bin(\d)_(conv|bn)", layer):
        block = _BINS.index(int(match[1]))
        return f"decoder.psp.blocks.{block}.pool.1.{_PARTS[match[2]]}"
    if layer == "head_refine_conv":
        return Source("decoder.conv.0", _last_half_first)
    return "decoder.conv.1" if layer == "head_refine_bn" else None


def _last_half_first(kernel: np.ndarray, name: str) -> np.ndarray:
    del name
    return np.roll(kernel, kernel.shape[2] // 2, axis=2)


def deeplabv3(layer, shapes):
    """DeepLab v3."""
    del shapes
    if layer in ("refine_conv", "refine_bn"):
        return f"decoder.{layer.removeprefix('refine_')}"
    return _pyramid(layer, "decoder.aspp")


def deeplabv3plus(layer, shapes):
    """DeepLab v3+."""
    del shapes
    if match := re.fullmatch(r"skip_(conv|bn)", layer):
        return f"decoder.block1.{_PARTS[match[1]]}"
    if match := re.fullmatch(r"(aspp_refine|refine1)_(depthwise|conv|bn)", layer):
        start, first = (
            ("decoder.aspp", 1)
            if match[1] != "refine1"
            else (
                "decoder.block2",
                0,
            )
        )
        parts = {"depthwise": f"{first}.0", "conv": f"{first}.1", "bn": first + 1}
        return f"{start}.{parts[match[2]]}"
    if match := re.fullmatch(r"aspp_atrous(\d)_(depthwise|conv|bn)", layer):
        part = {"depthwise": "0.0", "conv": "0.1", "bn": "1"}[match[2]]
        return f"decoder.aspp.0.convs.{match[1]}.{part}"
    return _pyramid(layer, "decoder.aspp.0")


def _pyramid(layer, prefix):
    """Atrous spatial pyramid pooling with plain convolutions."""
    match = re.fullmatch(r"aspp_(point|image|project|atrous(\d))_(conv|bn)", layer)
    if match is None:
        return None
    place, number, part = match.groups()
    index = _PARTS[part]
    if place == "project":
        module = f"{prefix}.project.{index}"
        return Source(module, image_first) if part == "conv" else module
    if place == "image":
        return f"{prefix}.convs.4.{index + 1}"
    return f"{prefix}.convs.{number or 0}.{index}"


def upernet(layer, shapes):
    """UPerNet."""
    del shapes
    if match := re.fullmatch(r"c(\d)_norm", layer):
        return f"decoder.feature_norms.{int(match[1]) - 2}"
    match = re.fullmatch(
        r"(?:(pyramid|lateral|smooth)(\d)|(pyramid_project|fuse))_(conv|bn)", layer
    )
    if match is None:
        return None
    place, number, single, part = match.groups()
    if single:
        module = {"pyramid_project": "psp.out_conv", "fuse": "fusion_block"}[single]
    elif place == "pyramid":
        module = f"psp.blocks.{_BINS.index(int(number))}.1"
    elif place == "lateral":
        module = f"fpn_lateral_blocks.{4 - int(number)}.conv_norm_relu"
    else:
        module = f"fpn_conv_blocks.{4 - int(number)}"
    return f"decoder.{module}.{_PARTS[part]}"


def segformer(layer, shapes):
    """SegFormer."""
    del shapes
    if match := re.fullmatch(r"head_c(\d)", layer):
        return f"decoder.mlp_stage.{5 - int(match[1])}.linear"
    if match := re.fullmatch(r"head_fuse_(conv|bn)", layer):
        return f"decoder.fuse_stage.{_PARTS[match[1]]}"
    return None
