"""Decodes image files to pixels, and label files to class indices."""

import io
import os
import struct
import zlib

import cv2
import numpy as np
from PIL import PngImagePlugin

from kerasseg.datasets import IGNORE_LABEL
from kerasseg.images import bit_masks, headers, other_formats
from kerasseg.system import files

DEFAULT_MAX_PIXELS = 64_000_000

_TURN = {  # Functions that turn an image upright, by EXIF orientation.
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: x[::-1].swapaxes(0, 1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: x[:, ::-1].swapaxes(0, 1),
}
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GRAY, _PALETTE = 0, 3  # Color types of a PNG header.
_GRAY_STEP = {1: 1, 2: 85, 4: 17, 8: 1}  # Factor of pillow's gray values, by bits.


def read_source(
    source: bytes | str | os.PathLike, name: str | None = None
) -> tuple[bytes, str]:
    """Returns the bytes of a file, and its name in error messages.

    Args:
        source: The bytes of the file, or its path.
        name: Its name; the path if None.

    Raises:
        FileNotFoundError: The file does not exist.
    """
    if isinstance(source, bytes):
        return source, name or "The image"
    return files.read_bytes(source), name or os.fspath(source)


def _load(source, name, max_pixels):
    """Returns the bytes of the file, its checked header and its name."""
    data, name = read_source(source, name)
    header = headers.probe(data, name=name)
    check_pixels(header, max_pixels, name)
    if header.frames > 1:
        raise headers.ImageError(
            f"{name} has {header.frames} frames instead of one. Save one of them as an "
            "image"
        )
    if header.format == "png":
        _check_chunks(data, name)
    return data, header, name


def check_pixels(header: headers.Header, max_pixels: int, name: str) -> None:
    """Checks the number of pixels of an image before it is decoded.

    Args:
        header: Its header.
        max_pixels: Largest number.
        name: Name of the image in the error message.

    Raises:
        ImageError: It has more pixels.
    """
    num_pixels = header.width * header.height
    if num_pixels > max_pixels:
        raise headers.ImageError(
            f"{name} has {header.width} x {header.height} = {num_pixels:,} pixels, "
            f"the maximum is {max_pixels:,}. Resize it, or raise `max_pixels` if you "
            "trust the file"
        )


def _check_chunks(data, name):
    """Verifies the checksums of a PNG file; decoders skip those of the pixels.

    An animation is refused, even one whose header states a single frame.
    """
    position, kind, kinds = 8, b"", set()
    while kind != b"IEND" and position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        kind, end = data[position + 4 : position + 8], position + 8 + length
        crc = data[end : end + 4]
        if crc != struct.pack(">I", zlib.crc32(data[position + 4 : end])):
            break
        if kind == b"acTL" and b"IDAT" not in kinds:  # As exported graphs do.
            raise headers.ImageError(
                f"{name} is an animation. Save one of its frames as an image"
            )
        kinds.add(kind)
        position = end + 4
    else:
        if kind == b"IEND":
            return
    raise headers.ImageError(
        f"{name}: the png file is damaged or truncated near byte {position} of "
        f"{len(data)}. Get the file again"
    )


def read_image(
    source: bytes | str | os.PathLike,
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    apply_exif: bool = True,
    name: str | None = None,
) -> np.ndarray:
    """Reads an image; the pixels equal those of TensorFlow's accurate decoder.

    JPEG, PNG, BMP, WebP and TIFF files are read. Gray images get three equal channels;
    CMYK is converted to RGB (within 1 of 255) and a palette to its colors; of 16 bits
    in a PNG file the upper 8 are kept. An alpha channel is dropped without blending, as
    TensorFlow does. TIFF files with other than 8 bits per channel, CMYK or several
    pages are refused.

    Args:
        source: The bytes of the file, or its path.
        max_pixels: Larger images are refused before they are decoded.
        apply_exif: Whether to turn the image upright by its EXIF orientation.
        name: Name of the image in error messages; the path if None.

    Returns:
        RGB, uint8 `[height, width, 3]`.

    Raises:
        ImageError: The image is too large, damaged, or of a format that is not read.
        FileNotFoundError: The file does not exist.
    """
    data, header, name = _load(source, name, max_pixels)
    turn = _TURN[header.orientation if apply_exif else 1]
    if header.format in other_formats.FORMATS:
        image = _decode_other(data, header, name, other_formats.as_rgb)
    else:
        image = _decode(data, header, name)
    return np.ascontiguousarray(turn(image))


def _decode_other(data, header, name, convert):
    size = header.width, header.height
    try:
        return convert(other_formats.decode(data, header.format, size))
    except other_formats.FormatError as error:
        raise headers.ImageError(
            f"{name} is a {header.format} file, but {error}"
        ) from error
    except headers.BROKEN as error:
        raise headers.ImageError(
            f"{name}: the {header.format} file is damaged ({error}). Get the file again"
        ) from error


def _decode(data, header, name):
    """Decodes a JPEG or PNG file as RGB."""
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise headers.ImageError(
            f"{name} has {header.width} x {header.height} pixels, which OpenCV does "
            f"not read ({error.err}). Cut it into parts"
        ) from error
    if image is None:
        raise headers.ImageError(
            f"{name}: the {header.format} file is damaged or truncated ({len(data)} "
            "bytes). Get the file again"
        )
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)


def decode_unchanged(data: bytes, max_pixels: int, name: str) -> np.ndarray:
    """Decodes a PNG file with all bits and channels, in OpenCV's order of channels.

    Raises:
        ImageError: See `read_image`.
    """
    _, header, _ = _load(data, name, max_pixels)
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise headers.ImageError(
            f"{name}: the {header.format} file is damaged or truncated ({len(data)} "
            "bytes). Get the file again"
        )
    return pixels


def turned(image: np.ndarray, orientation: int) -> np.ndarray:
    """Turns an image upright by its EXIF orientation."""
    return _TURN[orientation](image)


def read_label(
    source: bytes | str | os.PathLike,
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    name: str | None = None,
    multi_label: bool = False,
) -> np.ndarray:
    """Reads the class indices of a PNG file: gray values, or palette indices.

    Gray values of 16 bits are read exactly. BMP and TIFF files that were compressed
    without loss are read, too. See `read_image` for the other arguments.

    Args:
        source: The file.
        max_pixels: Larger ones are refused.
        name: Name in messages.
        multi_label: Whether the values are the bits of several classes.

    Returns:
        Class indices, uint8 `[height, width]`; or bits of classes, uint16.

    Raises:
        ImageError: The file cannot be read, has colors instead of class indices, or
            class indices above 255.
        FileNotFoundError: The file does not exist.
    """
    data, header, name = _load(source, name, max_pixels)
    if header.format in ("bmp", "tiff"):
        return _decode_other(data, header, name, other_formats.as_numbers)
    if header.format != "png":
        raise headers.ImageError(
            f"{name} is a {header.format} file, whose compression changes class "
            "indices. Save labels as PNG"
        )
    num_bits, color_type = data[24], data[25]
    if color_type not in (_GRAY, _PALETTE):
        raise headers.ImageError(
            f"{name} is {num_bits}-bit {header.mode}, expected one channel of class "
            "indices, 8-bit gray or palette. Convert colors of a palette back to its "
            "indices"
        )
    try:
        label = np.asarray(PngImagePlugin.PngImageFile(io.BytesIO(data)))
    except headers.BROKEN as error:
        raise headers.ImageError(
            f"{name}: the png file is damaged ({error}). Get the file again"
        ) from error
    if multi_label and num_bits >= 8:
        return label.astype(np.uint16)
    if num_bits == 16:
        _check_16_bits(label, name)
        return label.astype(np.uint8)
    step = _GRAY_STEP[num_bits] if color_type == _GRAY else 1
    return label.astype(np.uint8) // np.uint8(step)


def _pixels(count):
    return f"{count} pixel{'s' if count != 1 else ''}"


def _check_16_bits(label, name):
    large, counts = np.unique(label[label > IGNORE_LABEL], return_counts=True)
    if large.size:
        pairs = zip(large[:10].tolist(), counts[:10].tolist(), strict=True)
        listed = ", ".join(f"{value} ({_pixels(count)})" for value, count in pairs)
        more = f" and {large.size - 10} more" if large.size > 10 else ""
        raise headers.ImageError(
            f"{name} is 16-bit gray with values above {IGNORE_LABEL}: {listed}{more}. "
            "Class indices are 0 to 255. Save it with other values"
        )


def stores_plain_numbers(data: bytes) -> bool:
    """Returns whether a file that `read_label` accepts is an 8-bit gray PNG file."""
    is_png = data.startswith(_PNG_SIGNATURE)
    return is_png and (data[24], data[25]) == (8, _GRAY)


def check_label_range(
    label: np.ndarray, num_classes: int, *, name: str, multi_label: bool = False
) -> None:
    """Checks that every label is a class index or the ignore label.

    Args:
        label: uint8, any shape; for several classes uint8 or uint16.
        num_classes: Number of classes.
        name: Name of the label in the error message.
        multi_label: Whether the labels are the bits of several classes.

    Raises:
        ImageError: Lists the labels out of range and their number of pixels.
    """
    if multi_label:
        bit_masks.check(label, num_classes, name=name)
        return
    # In uint8 the ignore label plus one is 0: a single pass in the usual case.
    if (label + np.uint8(1)).max(initial=0) <= num_classes:
        return
    counts = np.bincount(label.ravel(), minlength=256)
    wrong = [int(k) for k in np.flatnonzero(counts[:IGNORE_LABEL]) if k >= num_classes]
    if wrong:
        listed = ", ".join(f"{k} ({_pixels(counts[k])})" for k in wrong)
        raise headers.ImageError(
            f"{name}: labels out of range: {listed}. Labels are 0 to "
            f"{num_classes - 1}, or {IGNORE_LABEL} for ignored pixels. Check that "
            f"`dataset` is the data set of these labels."
        )
