"""BMP, WebP and TIFF files, read by Pillow: 8 bits per channel, one image each.

Records never hold them: a build stores their pixels as PNG. What would lose bits,
channels or pages is refused, with a message that says what the file is.
"""

import io
import struct
import warnings

import numpy as np
from PIL import BmpImagePlugin, Image, TiffImagePlugin, WebPImagePlugin

_PLUGINS = {
    "bmp": BmpImagePlugin.BmpImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "tiff": TiffImagePlugin.TiffImageFile,
}
FORMATS = frozenset(_PLUGINS)
_GRAY = frozenset({"1", "L", "P"})
_MODES = _GRAY | {"LA", "RGB", "RGBA"}
_BITS, _SAMPLES, _EXTRA, _SAMPLE_FORMAT = 258, 277, 338, 339  # Tags of a TIFF file.
_ORIENTATION = 274
_UNSIGNED = 1
_ALPHA = (1, 2)  # Kinds of an extra channel that hold transparency.
_UNKNOWN = "unknown pixel mode"  # Pillow's error for bits and channels of a TIFF file.
_CONVERT = "Convert it to 8-bit gray or RGB"
_ANIMATION, _WEBP_EXIF, _WEBP_ALPHA = 0x02, 0x08, 0x10  # Flags of a WebP file.


class FormatError(ValueError):
    """Why a file cannot be read; a part of a sentence, without its name."""


def open_header(data: bytes, kind: str) -> tuple[int, int, str, int, bytes]:
    """Reads the header of a file, without decoding it.

    Args:
        data: The bytes of the file.
        kind: "bmp", "webp" or "tiff".

    Returns:
        Width, height, Pillow's mode, number of frames, and EXIF data or b"".

    Raises:
        FormatError: The file has other bits or channels than can be read.
        Exception: One of `headers.BROKEN`, where the header is damaged.
    """
    if kind == "webp":
        return _read_webp(data)
    with warnings.catch_warnings(action="ignore"):  # Of odd tags that are not used.
        try:
            file = _PLUGINS[kind](io.BytesIO(data))
        except SyntaxError as error:
            if _UNKNOWN not in str(error):
                raise
            raise FormatError(f"its bits or channels are not read. {_CONVERT}") from (
                error
            )
        frames = getattr(file, "n_frames", 1)
    if kind == "tiff":
        _check_tiff(file)
    if file.mode not in _MODES:
        raise FormatError(f"it has pixels of the mode {file.mode}. {_CONVERT}")
    return file.width, file.height, file.mode, frames, b""


def _check_tiff(file):
    """Refuses what Pillow would read with fewer bits or channels."""
    tags = file.tag_v2
    bits = set(tags.get(_BITS, (1,)))
    kinds = set(tags.get(_SAMPLE_FORMAT, (_UNSIGNED,)))
    if bits not in ({8}, {1}) or kinds != {_UNSIGNED}:
        listed = ", ".join(map(str, sorted(bits)))
        names = {2: "signed ", 3: "floating-point "}
        kind = "".join(names.get(each, "") for each in sorted(kinds))
        raise FormatError(
            f"it has {listed} {kind}bits per channel, expected 8. {_CONVERT}: its "
            "other bits would be lost"
        )
    samples = tags.get(_SAMPLES, 1)
    extra = tags.get(_EXTRA, ())
    if samples - len(extra) not in (1, 3) or any(each not in _ALPHA for each in extra):
        raise FormatError(
            f"it has {samples} channels of the mode {file.mode}, expected gray or RGB, "
            f"with or without transparency. {_CONVERT}"
        )
    orientation = tags.get(_ORIENTATION, 1)
    if orientation != 1:
        raise FormatError(
            f"its tag of the orientation is {orientation}, by which programs differ. "
            "Save it upright, with orientation 1"
        )


def _read_webp(data):
    """Reads the chunks; Pillow's decoder would allocate the pixels at once."""
    chunks = dict(reversed([*_chunks(data)]))
    exif = chunks.get(b"EXIF", b"").removeprefix(b"Exif\0\0")
    if b"VP8X" in chunks:
        flags, width, height = struct.unpack("<B3x3s3s", chunks[b"VP8X"][:10])
        sides = [int.from_bytes(side, "little") + 1 for side in (width, height)]
        frames = 2 if flags & _ANIMATION else 1
        mode = "RGBA" if flags & _WEBP_ALPHA else "RGB"
        return *sides, mode, frames, exif if flags & _WEBP_EXIF else b""
    if b"VP8L" in chunks:
        (packed,) = struct.unpack_from("<I", chunks[b"VP8L"], 1)
        has_alpha = packed >> 28 & 1
        mode = "RGBA" if has_alpha else "RGB"
        return (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1, mode, 1, b""
    width, height = struct.unpack_from("<HH", chunks[b"VP8 "], 6)
    return width & 0x3FFF, height & 0x3FFF, "RGB", 1, b""


def _chunks(data):
    position = 12
    while position + 8 <= len(data):
        kind, length = struct.unpack_from("<4sI", data, position)
        yield kind, data[position + 8 : position + 8 + length]
        position += 8 + length + length % 2


def decode(data: bytes, kind: str, size: tuple[int, int]) -> Image.Image:
    """Decodes a file whose header was read by `open_header`, and accepted.

    Args:
        data: The bytes of the file.
        kind: "bmp", "webp" or "tiff".
        size: Width and height in the header.

    Raises:
        FormatError: The pixels have another size.
        Exception: One of `headers.BROKEN`, where the file is damaged.
    """
    with warnings.catch_warnings(action="ignore"):
        file = _PLUGINS[kind](io.BytesIO(data))
        file.load()
    if file.size != size:
        raise FormatError(f"it has {file.size} pixels, its header says {size}")
    return file


def as_rgb(image: Image.Image) -> np.ndarray:
    """Returns RGB, uint8 `[height, width, 3]`; transparency is dropped."""
    return np.array(image.convert("RGB"))


def as_numbers(image: Image.Image) -> np.ndarray:
    """Returns gray values or indices of the palette, uint8 `[height, width]`.

    Raises:
        FormatError: It has colors, or was compressed with loss.
    """
    if image.info.get("compression") in ("jpeg", "tiff_jpeg", "webp"):
        raise FormatError(
            "its compression changes class indices. Save labels without loss"
        )
    if image.mode not in _GRAY:
        raise FormatError(
            f"it is {image.mode}, expected one channel of class indices, 8-bit gray or "
            "palette. Convert colors of a palette back to its indices"
        )
    return np.asarray(image).astype(np.uint8)
