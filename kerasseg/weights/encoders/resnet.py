"""ResNet with the names of torchvision, which most libraries of PyTorch use."""

import re
from collections.abc import Mapping, Sequence

from kerasseg.weights.networks import Shapes

_UNITS: dict[tuple[int, ...], str] = {
    (2, 2, 2, 2): "resnet18",
    (3, 4, 6, 3): "resnet50",
    (3, 4, 23, 3): "resnet101",
    (3, 8, 36, 3): "resnet152",
}
_STEM = {"conv1_conv": "conv1", "conv1_bn": "bn1"}
UNUSED = (r".*\.num_batches_tracked",)


def name(shapes: Shapes, prefix: str) -> str | None:
    """Returns the name of the backbone whose weights start with a prefix, or None."""
    units = []
    for stage in range(1, 5):
        pattern = re.compile(re.escape(prefix) + rf"layer{stage}\.(\d+)\.conv1\.weight")
        numbers = [int(m[1]) for m in map(pattern.fullmatch, shapes) if m]
        units.append(len(numbers))
    if shapes.get(f"{prefix}layer1.0.conv2.weight") != (64, 64, 3, 3):
        return None  # ResNeXt and wide ResNets have the same names.
    is_bottleneck = f"{prefix}layer1.0.conv3.weight" in shapes
    found = _UNITS.get(tuple(units))
    if found == "resnet50" and not is_bottleneck:
        return "resnet34"
    return found if is_bottleneck != (found == "resnet18") else None


def module(
    layer: str, prefix: str, stem: Mapping[str, str] | None = None
) -> str | None:
    """Returns the name of a layer of `backbones.resnet` in the file, or None.

    Args:
        layer: Name of the layer, such as "conv2_block1_0_conv".
        prefix: What the names in the file start with, such as "backbone.".
        stem: Names of the layers of a deep stem after `prefix`, such as "conv1_1_conv",
            by the layer's name; None for the standard stem.
    """
    if stem and layer in stem:
        return f"{prefix}{stem[layer]}"
    if layer in _STEM:
        return f"{prefix}{_STEM[layer]}"
    match = re.fullmatch(r"conv(\d)_block(\d+)_(\d)_(conv|bn)", layer)
    if match is None:
        return None
    stage, unit, number, part = match.groups()
    start = f"{prefix}layer{int(stage) - 1}.{int(unit) - 1}"
    if number == "0":
        return f"{start}.downsample.{0 if part == 'conv' else 1}"
    return f"{start}.{part}{number}"


def deep_stem(modules: Sequence[str]) -> dict[str, str]:
    """Returns `stem` of `module`: of conv1, bn1, conv2, bn2, conv3 and bn3."""
    layers = [f"conv1_{i}_{part}" for i in (1, 2, 3) for part in ("conv", "bn")]
    return dict(zip(layers, modules, strict=True))
