"""Reads one image in a worker process with limited memory."""

import pathlib

import cv2
import numpy as np

from kerasseg import images
from kerasseg.system import files, limits, names

# Decoding, rotating and sending: three bytes each, and a margin.
_BYTES_PER_PIXEL = 24
_BASE_BYTES = 256 << 20


def read(path: pathlib.Path, *, max_pixels: int) -> np.ndarray:
    """Reads an image, and limits the memory of the process it runs in.

    Args:
        path: The file.
        max_pixels: Limit for the pixels; the memory is limited accordingly.

    Returns:
        RGB, uint8 `[height, width, 3]`, upright.

    Raises:
        errors.UserError: It is not a regular file, or not a valid image.
        OSError: The file cannot be read.
        MemoryError: Reading it needs more memory than the limit.
    """
    cv2.setNumThreads(1)  # Each thread maps memory.
    limits.limit_memory(_BASE_BYTES + max_pixels * _BYTES_PER_PIXEL)
    data = files.read_bytes(path)
    return images.read_image(data, max_pixels=max_pixels, name=names.printable(path))
