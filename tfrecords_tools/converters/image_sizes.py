"""Sizes of images, from the first bytes of their files."""

import functools
import os

from kerasseg import images
from kerasseg.system import files

_FIRST_BYTES = 1 << 16  # Most headers, with their EXIF data, are shorter.


def read(path: str, *, ignore_exif: bool = False) -> tuple[int, int]:
    """Returns the height and width of an image. The result is cached.

    Args:
        path: The file.
        ignore_exif: Whether the image is used without its EXIF rotation.

    Raises:
        ImageError: It cannot be read.
        FileNotFoundError: There is no such file.
    """
    stat = os.stat(path)
    height, width, orientation = _read(path, stat.st_mtime_ns, stat.st_size)
    return (width, height) if orientation >= 5 and not ignore_exif else (height, width)


@functools.lru_cache(maxsize=1 << 20)
def _read(path, _, num_bytes):
    try:
        header = images.probe(files.read_bytes(path, _FIRST_BYTES), name=path)
    except images.ImageError:
        if num_bytes <= _FIRST_BYTES:
            raise
        header = images.read_header(files.read_bytes(path), name=path)
    return header.height, header.width, header.orientation
