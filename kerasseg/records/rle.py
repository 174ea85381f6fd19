"""Run-length encodings of masks, as COCO stores them: column by column, 0 first.

Masks are encoded by pycocotools. Strings are decoded here, because pycocotools writes
out of bounds if the runs of a string are damaged or belong to another size.

Source: https://github.com/cocodataset/cocoapi, common/maskApi.c.
"""

import numpy as np

from kerasseg import errors

_MAX_LETTERS = 12  # Of one run: 60 bits.


def encode(mask: np.ndarray) -> bytes:
    """Encodes a mask as COCO's compressed string of runs.

    Args:
        mask: bool `[height, width]`.

    Raises:
        errors.MissingPackageError: pycocotools is not installed.
    """
    try:
        from pycocotools import mask as coco_mask
    except ImportError as error:
        raise errors.MissingPackageError(
            "Masks of instances are encoded by pycocotools. It is not installed: pip "
            "install 'kerasseg[datasets]'."
        ) from error
    return coco_mask.encode(np.asfortranarray(mask, np.uint8))["counts"]


def expand(text: bytes) -> np.ndarray:
    """Decodes COCO's compressed string into the lengths of its runs.

    A letter has five bits, the lowest first; from the third run on, the difference
    from the last but one is stored.

    Returns:
        int64 `[runs]`. They may be negative, or too many for an image.

    Raises:
        errors.UserError: The string is damaged.
    """
    bits = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero((bits & 0x20) == 0)  # Last letter of each run.
    starts = np.append(-1, ends)[:-1] + 1
    sizes = ends - starts + 1
    is_damaged = bits.size and (bits.min() < 0 or bits.max() > 0x3F or bits[-1] & 0x20)
    if is_damaged or sizes.max(initial=0) > _MAX_LETTERS:
        raise errors.UserError("its string of runs is damaged")
    if not len(ends):
        return np.zeros(0, np.int64)
    shifts = 5 * (np.arange(len(bits)) - np.repeat(starts, sizes))
    values = np.add.reduceat((bits & 0x1F) << shifts, starts)
    values -= np.where(bits[ends] & 0x10, 1, 0) << (5 * sizes)  # Sign of the last one.
    counts = values.copy()
    counts[1::2] = np.cumsum(values[1::2])
    counts[2::2] = np.cumsum(values[2::2])
    return counts


def read(text: bytes, size: tuple[int, int]) -> np.ndarray:
    """Decodes COCO's compressed string for an image of a known size.

    Returns:
        Lengths of the runs, int64 `[runs]`, at least 0.

    Raises:
        errors.UserError: The string is damaged, or of another size.
    """
    counts = expand(text)
    total = sum(counts.tolist())  # Without overflow.
    if total != size[0] * size[1] or counts.min(initial=0) < 0:
        raise errors.UserError(
            f"the run lengths of a mask add up to {total} pixels, the image of "
            f"{size[1]}x{size[0]} has {size[0] * size[1]}"
        )
    return counts
