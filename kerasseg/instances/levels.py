"""The level of a feature pyramid from which the features of a box are taken."""

from keras import ops

_SIDE, _LEVEL = 224, 4  # A box of 224x224 pixels, the crop of ImageNet, is on P4.


def assign(boxes, lowest: int = 2, highest: int = 5):
    """Assigns boxes to levels ([Lin17] equation 1).

    Args:
        boxes: `[..., 4]`.
        lowest: First level.
        highest: Last level.

    Returns:
        floor(4 + log2(sqrt(area) / 224)), clipped, int32 `[...]`.
    """
    y1, x1, y2, x2 = ops.unstack(boxes, 4, axis=-1)
    side = ops.sqrt(ops.maximum(y2 - y1, 0) * ops.maximum(x2 - x1, 0))
    # Half a millionth: 112 pixels must not become 111.99 by rounding.
    level = ops.floor(_LEVEL + ops.log2(side / _SIDE + 1e-9) + 1e-6)
    return ops.cast(ops.clip(level, lowest, highest), "int32")
