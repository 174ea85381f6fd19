"""Colors for classes without names."""

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
