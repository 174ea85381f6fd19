"""HRNet with the names of its authors, which OpenMMLab has too."""

import re
from collections.abc import Mapping
from typing import Any

from kerasseg.weights.networks import Shapes

_BOTTLENECK = {"narrow": 1, "middle": 2, "widen": 3}
_BASIC = {"first": 1, "second": 2}


def sizes(shapes: Shapes, prefix: str) -> Mapping[str, Any] | None:
    """Returns `width`, `units` and `modules` of `models.hrnet_ocr`, or None."""
    first = shapes.get(f"{prefix}transition1.0.0.weight")
    if first is None:
        return None
    units = _count(shapes, rf"{re.escape(prefix)}layer1\.(\d+)\.conv1\.weight")
    modules = [
        _count(
            shapes,
            rf"{re.escape(prefix)}stage{stage}\.(\d+)\.branches\.0\.0\.conv1\.weight",
        )
        for stage in (2, 3, 4)
    ]
    return {"width": first[0], "units": units, "modules": tuple(modules)}


def _count(shapes, pattern):
    return sum(re.fullmatch(pattern, name) is not None for name in shapes)


def module(layer: str, prefix: str) -> str | None:
    """Returns the name of a layer of `hrnet_ocr.high_resolution_net` in the file.

    Args:
        layer: Name of the layer, such as "stage2_module1_branch1_1_first_conv".
        prefix: What the names in the file start with, such as "backbone.".

    Returns:
        The name; None if the encoder has no such layer.
    """
    base, _, part = layer.rpartition("_")
    if part not in ("conv", "bn"):
        return None
    index = int(part == "bn")
    if base in ("stem1", "stem2"):
        return f"{prefix}{part}{base[-1]}"
    if match := re.fullmatch(r"stage1_(\d+)_(\w+)", base):
        start = f"{prefix}layer1.{int(match[1]) - 1}"
        if match[2] == "short":
            return f"{start}.downsample.{index}"
        return f"{start}.{part}{_BOTTLENECK[match[2]]}"
    if match := re.fullmatch(r"transition(\d)_(keep|new)", base):
        branch = "0" if match[2] == "keep" else f"{match[1]}.0"
        return f"{prefix}transition{match[1]}.{branch}.{index}"
    match = re.fullmatch(r"stage(\d)_module(\d+)_(.*)", base)
    if match is None:
        return None
    rest = _in_module(match[3], part)
    return rest and f"{prefix}stage{match[1]}.{int(match[2]) - 1}.{rest}"


def _in_module(base, part):
    """Returns the name of a layer after that of its module, or None."""
    if match := re.fullmatch(r"branch(\d)_(\d+)_(first|second)", base):
        branch, unit = int(match[1]) - 1, int(match[2]) - 1
        return f"branches.{branch}.{unit}.{part}{_BASIC[match[3]]}"
    match = re.fullmatch(r"from(\d)_to(\d)(?:_(\d))?", base)
    if match is None:
        return None
    source, target, step = match.groups()
    index = str(int(part == "bn"))
    if step is not None:
        index = f"{int(step) - 1}.{index}"
    return f"fuse_layers.{int(target) - 1}.{int(source) - 1}.{index}"
