"""From a file's bytes to pixels or class numbers."""

import io
import os
import pathlib
import struct
import zlib

import cv2
import numpy as np
from PIL import PngImagePlugin

from kerasseg.images import headers

DEFAULT_MAX_PIXELS = 64_000_000

_TURN = {  # EXIF orientation -> what shows the picture upright.
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: x[::-1].swapaxes(0, 1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: x[:, ::-1].swapaxes(0, 1),
}
_GREY, _PALETTE = 0, 3  # Colour types of a PNG header.
_GREY_STEP = {1: 1, 2: 85, 4: 17, 8: 1}  # Bits -> what pillow multiplies grey with.


def _load(source, name, max_pixels):
    """Returns the file's bytes, its checked header and its name."""
    if isinstance(source, bytes):
        data, name = source, name or "The picture"
    else:
        data, name = pathlib.Path(source).read_bytes(), name or os.fspath(source)
    header = headers.probe(data, name=name)
    num_pixels = header.width * header.height
    if num_pixels > max_pixels:
        raise headers.ImageError(
            f"{name} is {header.width} x {header.height} = {num_pixels:,} pixels, "
            f"wanted are at most {max_pixels:,}. Shrink it, or raise max_pixels if you "
            "trust it"
        )
    if header.frames > 1:
        raise headers.ImageError(
            f"{name} has {header.frames} frames, wanted is one. Save one as a picture"
        )
    if header.format == "png":
        _check_chunks(data, name)
    return data, header, name


def _check_chunks(data, name):
    """Looks at every checksum of a PNG, which decoders leave out for the pixels."""
    position, kind = 8, b""
    while kind != b"IEND" and position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        kind, end = data[position + 4 : position + 8], position + 8 + length
        crc = data[end : end + 4]
        if crc != struct.pack(">I", zlib.crc32(data[position + 4 : end])):
            break
        position = end + 4
    else:
        if kind == b"IEND":
            return
    raise headers.ImageError(
        f"{name}: the png file is damaged or cut near byte {position} of {len(data)}. "
        "Get the file again"
    )


def read_image(
    source: bytes | str | os.PathLike,
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    apply_exif: bool = True,
    name: str | None = None,
) -> np.ndarray:
    """Reads a picture, equal to TensorFlow's accurate decoder bit for bit.

    Grey becomes three equal channels, CMYK what it shows (to 1 of 255), a palette its
    colours; 16 bits are cut to the upper 8. An alpha channel is dropped: the colours
    below it are what TensorFlow gives too.

    Args:
        source: The file's bytes, or its path.
        max_pixels: Larger pictures are refused before they are decoded.
        apply_exif: Whether to show the picture upright, as EXIF says.
        name: What errors call it; its path if None.

    Returns:
        RGB, uint8 `[height, width, 3]`.

    Raises:
        ImageError: It cannot be used.
        FileNotFoundError: There is no such file.
    """
    data, header, name = _load(source, name, max_pixels)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if image is None:
        raise headers.ImageError(
            f"{name}: the {header.format} file is damaged or cut ({len(data)} bytes). "
            "Get the file again"
        )
    image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)
    turn = _TURN[header.orientation if apply_exif else 1]
    return np.ascontiguousarray(turn(image))


def read_label(
    source: bytes | str | os.PathLike,
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    name: str | None = None,
) -> np.ndarray:
    """Reads a PNG's class numbers: grey values, or numbers of palette entries.

    See `read_image` for the arguments.

    Returns:
        Class numbers, uint8 `[height, width]`.

    Raises:
        ImageError: It cannot be read, or holds colours instead of class numbers.
        FileNotFoundError: There is no such file.
    """
    data, header, name = _load(source, name, max_pixels)
    if header.format != "png":
        raise headers.ImageError(
            f"{name} is a {header.format} file, which changes class numbers. "
            "Save labels as PNG"
        )
    num_bits, color_type = data[24], data[25]
    if color_type not in (_GREY, _PALETTE) or num_bits > 8:
        raise headers.ImageError(
            f"{name} is {num_bits}-bit {header.mode}, wanted is one channel of class "
            "numbers, 8-bit grey or palette. Colours of a palette must be turned back "
            "into its numbers"
        )
    try:
        label = np.asarray(PngImagePlugin.PngImageFile(io.BytesIO(data)))
    except headers.BROKEN as error:
        raise headers.ImageError(
            f"{name}: the png file is damaged ({error}). Get the file again"
        ) from error
    step = _GREY_STEP[num_bits] if color_type == _GREY else 1
    return label.astype(np.uint8) // np.uint8(step)


def stores_plain_numbers(data: bytes) -> bool:
    """Tells whether a PNG that `read_label` accepts is 8-bit grey without a palette."""
    return (data[24], data[25]) == (8, _GREY)
