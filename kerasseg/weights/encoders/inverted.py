"""MobileNetV2, MobileNetV3 and EfficientNet with the names of torchvision and timm.

Sources: torchvision/models/{mobilenetv2,mobilenetv3,efficientnet}.py of
https://github.com/pytorch/vision, version 0.29.1, and timm/models/{mobilenetv3,
efficientnet,_efficientnet_blocks}.py of
https://github.com/huggingface/pytorch-image-models, version 1.0.31.
"""

import functools
import re
from collections.abc import Callable

from kerasseg.weights.networks import Shapes

# By the number of units, and the output channels of the last convolution.
_NETWORKS = {
    (17, 1280): "mobilenet_v2",
    (15, 960): "mobilenet_v3_large",
    (11, 576): "mobilenet_v3_small",
    (16, 1280): "efficientnet_b0",
    (23, 1280): "efficientnet_b1",
    (23, 1408): "efficientnet_b2",
    (26, 1536): "efficientnet_b3",
    (32, 1792): "efficientnet_b4",
    (39, 2048): "efficientnet_b5",
    (45, 2304): "efficientnet_b6",
    (55, 2560): "efficientnet_b7",
}
_OUTSIDE = {  # Layers of MobileNetV3, MobileNetV2 and EfficientNet.
    **{name: ("stem", "conv") for name in ("conv", "Conv1", "stem_conv")},
    **{name: ("stem", "bn") for name in ("conv_bn", "bn_Conv1", "stem_bn")},
    **{name: ("top", "conv") for name in ("conv_1", "Conv_1", "top_conv")},
    **{name: ("top", "bn") for name in ("conv_1_bn", "Conv_1_bn", "top_bn")},
}
_IN_UNIT = {
    **{part: part for part in ("expand", "depthwise", "project")},
    **{f"{part}_bn": f"{part}_bn" for part in ("expand", "depthwise", "project")},
    **{f"{part}_BN": f"{part}_bn" for part in ("expand", "depthwise", "project")},
    **{"squeeze_excite_conv": "squeeze", "squeeze_excite_conv_1": "excite"},
    **{"expand_conv": "expand", "dwconv": "depthwise", "bn": "depthwise_bn"},
    **{"se_reduce": "squeeze", "se_expand": "excite", "project_conv": "project"},
}

Names = Callable[[str], str | None]


def of_torchvision(shapes: Shapes, prefix: str) -> tuple[str, Names] | None:
    """Returns the backbone of a file, and the name in it of each layer; or None.

    Args:
        shapes: Shapes of the arrays of the file.
        prefix: What the names of the encoder start with, such as "features.".
    """
    pattern = re.compile(
        re.escape(prefix) + r"(\d+(?:\.\d+)?)\.(block|conv)\.\d+\.0\.weight"
    )
    units = _sorted({(m[1], m[2]) for m in map(pattern.fullmatch, shapes) if m})
    if not units:
        return None
    top = f"{prefix}{int(units[-1][0].split('.')[0]) + 1}"
    parts = [
        _unit_of_torchvision(shapes, f"{prefix}{number}.{kind}")
        for number, kind in units
    ]
    sizes = _sizes([number for number, _ in units])
    outside = {"stem": f"{prefix}0.{{}}", "top": f"{top}.{{}}"}
    return _found(shapes, parts, sizes, outside)


def _unit_of_torchvision(shapes, start):
    numbers = sorted(
        {
            int(name.removeprefix(f"{start}.").split(".")[0])
            for name in shapes
            if name.startswith(f"{start}.")
        }
    )
    squeezes = [n for n in numbers if f"{start}.{n}.fc1.weight" in shapes]
    if start.endswith("conv"):  # MobileNetV2: the last two are one layer each.
        *inner, project, norm = numbers
        parts = {"project": f"{start}.{project}", "project_bn": f"{start}.{norm}"}
    else:
        *inner, project = [n for n in numbers if n not in squeezes]
        parts = {
            "project": f"{start}.{project}.0",
            "project_bn": f"{start}.{project}.1",
        }
    for part, number in zip(("depthwise", "expand"), reversed(inner), strict=False):
        parts[part], parts[f"{part}_bn"] = f"{start}.{number}.0", f"{start}.{number}.1"
    for number in squeezes:
        parts["squeeze"] = f"{start}.{number}.fc1"
        parts["excite"] = f"{start}.{number}.fc2"
    return parts


def of_timm(shapes: Shapes) -> tuple[str, Names] | None:
    """Returns the backbone of a file of timm, and the name of each layer; or None."""
    pattern = re.compile(r"blocks\.(\d+\.\d+)\.conv_dw\.weight")
    units = _sorted({(m[1],) for m in map(pattern.fullmatch, shapes) if m})
    if not units:
        return None
    numbers = [number for (number,) in units]
    parts = [_unit_of_timm(shapes, f"blocks.{number}") for number in numbers]
    last = f"blocks.{int(numbers[-1].split('.')[0]) + 1}.0"
    outside = {"stem": ("conv_stem", "bn1"), "top": ("conv_head", "bn2")}
    if f"{last}.conv.weight" in shapes:  # MobileNetV3; its head is conv_head.
        outside["top"] = (f"{last}.conv", f"{last}.bn1")
    return _found(shapes, parts, _sizes(numbers), outside)


def _unit_of_timm(shapes, start):
    convolutions = ["conv_dw", "conv_pw"]
    roles = ["depthwise", "project"]
    if f"{start}.conv_pwl.weight" in shapes:
        convolutions = ["conv_pw", "conv_dw", "conv_pwl"]
        roles = ["expand", *roles]
    parts = {}
    for i, (role, name) in enumerate(zip(roles, convolutions, strict=True), start=1):
        parts[role], parts[f"{role}_bn"] = f"{start}.{name}", f"{start}.bn{i}"
    if f"{start}.se.conv_reduce.weight" in shapes:
        parts["squeeze"] = f"{start}.se.conv_reduce"
        parts["excite"] = f"{start}.se.conv_expand"
    return parts


def _found(shapes, units, sizes, outside):
    """Returns the network, and the names of its layers.

    Args:
        shapes: Shapes of the arrays.
        units: For each unit, the name of each part in the file.
        sizes: Number of units of each stage in the file.
        outside: Names of the convolution and the norm of "stem" and "top".
    """
    outside = {
        key: (value.format(0), value.format(1)) if isinstance(value, str) else value
        for key, value in outside.items()
    }
    channels, *_ = shapes.get(f"{outside['top'][0]}.weight", (0,))
    name = _NETWORKS.get((len(units), channels))
    has_squeezes = name is not None and name != "mobilenet_v2"
    if name is None or has_squeezes != any("squeeze" in unit for unit in units):
        return None
    if name.startswith("efficientnet") and len(sizes) != 7:
        return None
    return name, functools.partial(_module, units, sizes, outside)


def _module(units, sizes, outside, layer):
    if layer in _OUTSIDE:
        place, part = _OUTSIDE[layer]
        return outside[place][part == "bn"]
    if match := re.fullmatch(r"(?:expanded_conv|block)(?:_(\d+))?_(\D.*)", layer):
        unit, part = int(match[1] or 0), match[2]
    elif match := re.fullmatch(r"block([1-7])([a-z])_(.*)", layer):
        unit = sum(sizes[: int(match[1]) - 1]) + ord(match[2]) - ord("a")
        part = match[3]
    else:
        return None
    return units[unit].get(_IN_UNIT.get(part)) if unit < len(units) else None


def _sorted(units):
    return sorted(units, key=lambda unit: tuple(map(int, unit[0].split("."))))


def _sizes(numbers):
    """Counts the units of each stage, from their numbers such as "2.0"."""
    stages = [number.split(".")[0] for number in numbers]
    return [stages.count(stage) for stage in dict.fromkeys(stages)]
