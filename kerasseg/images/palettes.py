"""Names and colors of the classes of a file that holds none."""

import logging

import numpy as np


def voc_palette(num_classes: int) -> np.ndarray:
    """Returns the colors of PASCAL VOC's development kit for any number of classes.

    Returns:
        RGB, uint8 `[num_classes, 3]`: the bits of a class number, the lowest first, go
        to red, green and blue in turn, filling each channel from its highest bit.
    """
    numbers = np.arange(num_classes)[:, np.newaxis]
    colors = np.zeros((num_classes, 3), np.int64)
    for i in range(8):
        bits = numbers >> (3 * i + np.arange(3)) & 1
        colors |= bits << (7 - i)
    return colors.astype(np.uint8)


def numbered(reason: str, num_classes: int) -> tuple[tuple[str, ...], np.ndarray]:
    """Names classes by their numbers, with a warning.

    Args:
        reason: What the warning begins with: why there are no names.
        num_classes: Number of classes.

    Returns:
        Names, and the colors of `voc_palette`.
    """
    logging.warning(
        "%s: its %d classes are named 0 to %d. The workdir of a run, or an export, "
        "has them.",
        reason,
        num_classes,
        num_classes - 1,
    )
    return tuple(str(i) for i in range(num_classes)), voc_palette(num_classes)
