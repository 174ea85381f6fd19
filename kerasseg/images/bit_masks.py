"""Masks of pixels with any number of classes, as one integer a pixel.

Class `k` is bit `k + 1`: its value is `2 ** (k + 1)`, and the value of a pixel is the
sum over its classes, 0 for none. Bit 0 is never set, so that values are even, and the
odd 255 means an ignored pixel here, too. 7 classes fit into 8 bits and 15 into 16; as
PNG files such masks are of 8 or 16 bits.
"""

import numpy as np

from kerasseg import errors
from kerasseg.images import headers

MAX_CLASSES = 15
_IGNORED = 255


def bits(num_classes: int) -> np.ndarray:
    """Returns the value of each class, uint16 `[num_classes]`.

    Raises:
        errors.UserError: There are more than `MAX_CLASSES`.
    """
    if not 1 <= num_classes <= MAX_CLASSES:
        raise errors.UserError(
            f"Multi-label masks hold 1 to {MAX_CLASSES} classes, got {num_classes}. "
            "Leave out classes, or build the records of several groups of classes."
        )
    return (2 << np.arange(num_classes)).astype(np.uint16)


def dtype(num_classes: int) -> type[np.unsignedinteger]:
    """Returns the smallest type of a mask of that many classes: uint8 or uint16."""
    return np.uint8 if bits(num_classes)[-1] < 256 else np.uint16


def encode(masks: np.ndarray, ignored: np.ndarray | None = None) -> np.ndarray:
    """Combines the masks of the classes.

    Args:
        masks: bool `[height, width, num_classes]`: whether a pixel has the class.
        ignored: bool `[height, width]`, or None: pixels without a label.

    Returns:
        `[height, width]` of `dtype`; 255 for ignored pixels.

    Raises:
        errors.UserError: There are too many classes.
    """
    count = masks.shape[-1]
    code = np.zeros(masks.shape[:-1], dtype(count))
    for k, value in enumerate(bits(count)):
        code[masks[..., k]] |= code.dtype.type(value)
    if ignored is not None:
        code[ignored] = _IGNORED
    return code


def decode(code: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns the masks of the classes, the inverse of `encode`.

    Args:
        code: Unsigned integers, `[...]`. Ignored pixels have no class.
        num_classes: Number of classes.

    Returns:
        bool `[..., num_classes]`.
    """
    labeled = code != _IGNORED
    return (code[..., np.newaxis] & bits(num_classes) > 0) & labeled[..., np.newaxis]


def present(code: np.ndarray, num_classes: int) -> list[int]:
    """Returns the numbers of the classes that a mask `[height, width]` shows."""
    return np.flatnonzero(decode(code, num_classes).any((0, 1))).tolist()


def wrong(code: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns where a value is neither a sum of classes nor 255, bool `[...]`."""
    allowed = int(bits(num_classes).sum())
    return (code & ~np.uint16(allowed) > 0) & (code != _IGNORED)


def check(code: np.ndarray, num_classes: int, *, name: str) -> None:
    """Checks the values of a label.

    Args:
        code: Unsigned integers, any shape.
        num_classes: Number of classes.
        name: Name of the label in the error message.

    Raises:
        ImageError: Lists the values that are neither sums of classes nor 255.
    """
    found = wrong(code, num_classes)
    if found.any():
        values, counts = np.unique(code[found], return_counts=True)
        pairs = zip(values[:8].tolist(), counts.tolist(), strict=False)
        listed = ", ".join(f"{value} ({count:,} pixels)" for value, count in pairs)
        raise headers.ImageError(
            f"{name}: labels out of range: {listed}. Multi-label labels are sums of "
            f"2 ** (k + 1) over the class numbers k of 0 to {num_classes - 1}, or 255 "
            "for ignored pixels. Check that `dataset` is the data set of these labels."
        )
