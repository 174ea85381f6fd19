"""Where an image lies on Earth: tags of GeoTIFF files, read and written by tifffile."""

import io
import math
from typing import Any, NamedTuple

import numpy as np

from kerasseg import errors

# Pixel scale, tie points, matrix; and keys, numbers and texts of the coordinates.
_SCALE, _TIES, _MATRIX = 33550, 33922, 34264
_KEYS, _NUMBERS, _TEXTS = 34735, 34736, 34737
_MISSING = 42113  # GDAL's value of missing pixels, as text.
_TAGS = {_SCALE: 12, _TIES: 12, _MATRIX: 12, _KEYS: 3, _NUMBERS: 12, _TEXTS: 2}
_PROJECTED, _GEOGRAPHIC = 3072, 2048  # Keys with a number of EPSG.
_USER_DEFINED = 32767


class Place(NamedTuple):
    """Coordinates of an image.

    Attributes:
        tags: Number, type and value of the tags of the file, which are copied.
        transform: (a, b, c, d, e, f): x = a column + b row + c and y = d column + e
            row + f, of the corners of pixels; None if the file has none.
        epsg: Number of the coordinate system in the EPSG registry, or None.
    """

    tags: tuple[tuple[int, int, Any], ...]
    transform: tuple[float, ...] | None
    epsg: int | None


def tifffile(name: str):
    """Imports tifffile.

    Args:
        name: The file that needs it, for the message.

    Raises:
        errors.MissingPackageError: It is not installed.
    """
    try:
        import tifffile as module
    except ImportError as error:
        raise errors.MissingPackageError(
            f"{name} is a TIFF file that needs the package tifffile. Install it with "
            "pip install 'kerasseg[tiff]'."
        ) from error
    return module


def has_place(data: bytes) -> bool:
    """Returns whether the first page of a TIFF file may have a place or missing pixels.

    It reads the numbers of the tags only; a file that it cannot read has none.
    """
    is_little = data[:2] == b"II"

    def number(start, size):
        part = data[start : start + size]
        return int.from_bytes(part, "little" if is_little else "big")

    if number(2, 2) == 43:
        start, size, entry = number(8, 8), 8, 20
    else:
        start, size, entry = number(4, 4), 2, 12
    first, count = start + size, min(number(start, size), 4096)
    tags = {number(first + i * entry, 2) for i in range(count)}
    return bool(tags & {_SCALE, _MATRIX, _KEYS, _MISSING})


def read(page) -> tuple[Place | None, float | None]:
    """Reads the place and the value of missing pixels.

    Args:
        page: A page of tifffile.

    Returns:
        The place, and the value; each None if the file has none.
    """
    tags = page.tags
    copied = []
    for number, kind in _TAGS.items():
        tag = tags.get(number)
        if tag is not None:
            value = tag.value
            copied.append((number, kind, value if kind == 2 else tuple(value)))
    missing = tags.get(_MISSING)
    value = None
    if missing is not None:
        text = str(missing.value).strip().strip("\0").strip()
        try:
            value = float(text)
        except ValueError:
            value = None
    if not copied:
        return None, value
    known = {number: each for number, _, each in copied}
    return Place(tuple(copied), _transform(known), _epsg(known.get(_KEYS, ()))), value


def _transform(tags):
    if _MATRIX in tags and len(tags[_MATRIX]) == 16:
        m = tags[_MATRIX]
        found: tuple[float, ...] = (m[0], m[1], m[3], m[4], m[5], m[7])
    elif _SCALE in tags and len(tags.get(_TIES, ())) >= 6:
        (sx, sy, *_), (i, j, _, x, y, *_) = tags[_SCALE], tags[_TIES]
        found = (sx, 0.0, x - i * sx, 0.0, -sy, y + j * sy)
    else:
        return None
    found = tuple(float(value) for value in found)
    return found if all(map(math.isfinite, found)) else None


def _epsg(keys):
    """Reads a directory of keys: four numbers each, the first of which is a header."""
    found = {
        keys[i]: keys[i + 3] for i in range(4, len(keys) - 3, 4) if not keys[i + 1]
    }
    for key in (_PROJECTED, _GEOGRAPHIC):
        if 0 < found.get(key, 0) < _USER_DEFINED:
            return int(found[key])
    return None


def encode_mask(mask: np.ndarray, place: Place | None) -> bytes:
    """Encodes class numbers as a GeoTIFF file; 255 is the value of missing pixels.

    Args:
        mask: uint8 `[height, width]`; or bits of classes, uint16.
        place: Place of the image; None for a file without one.
    """
    tags = place.tags if place is not None else ()
    extra = [
        (number, kind, 0 if kind == 2 else len(value), value, True)
        for number, kind, value in tags
    ]
    extra.append((_MISSING, 2, 0, "255", True))
    file = io.BytesIO()
    tifffile("A mask").imwrite(
        file,
        mask,
        photometric="minisblack",
        compression="zlib",
        extratags=extra,
        metadata=None,
    )
    return file.getvalue()


def to_map(points: np.ndarray, place: Place) -> np.ndarray:
    """Transforms corners of pixels to coordinates of the map.

    Args:
        points: Columns and rows, `[points, 2]`.
        place: A place with a transform.

    Returns:
        x and y, float64 `[points, 2]`.
    """
    a, b, c, d, e, f = place.transform or (1, 0, 0, 0, 1, 0)
    x, y = np.asarray(points, float).T
    return np.stack([a * x + b * y + c, d * x + e * y + f], axis=-1)
