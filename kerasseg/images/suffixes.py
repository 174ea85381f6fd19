"""Endings of the names of image files."""

import os
from collections.abc import Sequence

# Files that are read, and stored in records as PNG.
CONVERTED_SUFFIXES = (".bmp", ".dib", ".tif", ".tiff", ".webp")
ARRAY_SUFFIXES = (".npy",)
READABLE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".pjpeg", ".pjp", ".mpo"),
    *(".png", ".apng"),
    *CONVERTED_SUFFIXES,
    *ARRAY_SUFFIXES,
)
# Images of these formats are found too, so that each of them is reported.
UNREADABLE_SUFFIXES = (".gif", ".heic", ".heif", ".avif", ".jxl", ".jp2")
SUFFIXES = (*READABLE_SUFFIXES, *UNREADABLE_SUFFIXES)


def without_arrays(paths: Sequence[str]) -> list[str]:
    """Returns the paths without arrays, which may hold anything, beside other files.

    Args:
        paths: Paths of images, which end with one of `SUFFIXES`.

    Returns:
        All paths if all are arrays.
    """
    others = [
        path
        for path in paths
        if os.path.splitext(path)[1].lower() not in ARRAY_SUFFIXES
    ]
    return others or list(paths)
