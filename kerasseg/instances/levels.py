"""Assignment of RoIs to the levels of a feature pyramid."""

import math

from keras import ops

from kerasseg.instances import boxes as box_ops

# Rounding errors of a side move no box below its level; torchvision's constant.
_TOLERANCE = 2.0**-1e-6


def assign(
    boxes,
    *,
    min_level: int = 2,
    max_level: int = 5,
    canonical_size: float = 224,
    canonical_level: int = 4,
):
    """Returns the level from which the features of each box are pooled.

    With the defaults it is floor(4 + log2(sqrt(height * width) / 224)), clipped to 2 to
    5: a box of 224x224 pixels is pooled from P4, and one of 112x112 from P3.

    Args:
        boxes: `[..., n, 4]`.
        min_level: Finest level.
        max_level: Coarsest level.
        canonical_size: Side of the square that `canonical_level` is for, in pixels.
        canonical_level: Its level.

    Returns:
        int32 `[..., n]`: the level minus `min_level`, so an index of a list of feature
        maps that starts with `min_level`.

    Source: FPN (https://arxiv.org/abs/1612.03144), equation 1.
    """
    areas = box_ops.area(boxes)
    index = ops.zeros_like(areas, dtype="int32")
    for level in range(min_level + 1, max_level + 1):
        side = canonical_size * math.ldexp(_TOLERANCE, level - canonical_level)
        index = index + ops.cast(areas >= side * side, "int32")
    return index
