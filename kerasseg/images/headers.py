"""The header of an image file, read without decoding it."""

import dataclasses
import io
import struct
import zlib
from collections.abc import Collection

from PIL import Image, JpegImagePlugin, PngImagePlugin

from kerasseg import errors
from kerasseg.images import other_formats

RECORD_FORMATS = frozenset({"jpeg", "png"})  # Of images in records and requests.
FORMATS = RECORD_FORMATS | other_formats.FORMATS
_SIGNATURES = {  # First bytes of known formats.
    b"\xff\xd8\xff": "jpeg",
    b"\x89PNG\r\n\x1a\n": "png",
    b"GIF8": "gif",
    b"BM": "bmp",
    b"II*\x00": "tiff",
    b"MM\x00*": "tiff",
    b"II+\x00": "tiff",  # BigTIFF.
    b"MM\x00+": "tiff",
    b"\xff\x0a": "jpeg xl",
    b"\x00\x00\x00\x0cJXL ": "jpeg xl",
    b"<": "text, such as HTML or SVG",
}
_PLUGINS = {"jpeg": JpegImagePlugin.JpegImageFile, "png": PngImagePlugin.PngImageFile}
BROKEN = (  # What Pillow raises for damaged files.
    *(OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error),
    *(LookupError, TypeError, AttributeError, ArithmeticError),
)
_ORIENTATION = 0x0112  # EXIF tag.


class ImageError(errors.UserError):
    """An image that cannot be used; the message names it and gives the reason."""


@dataclasses.dataclass(frozen=True)
class Header:
    """The header of an image file.

    Attributes:
        format: "jpeg", "png", "bmp", "webp" or "tiff".
        width: Columns as stored, before `orientation` is applied.
        height: Rows as stored.
        mode: Pillow's mode of the pixels, such as "RGB", "L", "P" or "CMYK".
        frames: Number of frames; an animation has more than one.
        orientation: EXIF orientation, 1 (upright) to 8.
    """

    format: str
    width: int
    height: int
    mode: str
    frames: int
    orientation: int


def probe(data: bytes, *, name: str = "", formats: Collection[str] = FORMATS) -> Header:
    """Reads the header of an image file, in milliseconds for any size of the image.

    Args:
        data: The bytes of the file.
        name: Name of the image in error messages.
        formats: Formats that are accepted.

    Raises:
        ImageError: The file has another format, bits or channels that cannot be read,
            or its header is damaged.
    """
    name = name or "The image"
    format_ = _format(data)
    if format_ not in formats:
        raise ImageError(
            f"{name} is not a JPEG or PNG file but {format_} (it starts with "
            f"{data[:8]!r}). Convert it to JPEG or PNG"
        )
    try:
        if format_ in other_formats.FORMATS:
            width, height, mode, frames, exif = other_formats.open_header(data, format_)
            return Header(format_, width, height, mode, frames, _orientation(exif))
        file = _PLUGINS[format_](io.BytesIO(data))
        if format_ == "png" and _png_size(data) != file.size:
            raise SyntaxError("its first chunk is not its only IHDR")  # As Pillow does.
        orientation = _orientation(file.info.get("exif", b""))
        frames = getattr(file, "n_frames", 1)
    except other_formats.FormatError as error:
        raise ImageError(f"{name} is a {format_} file, but {error}") from error
    except BROKEN as error:
        raise ImageError(
            f"{name}: the {format_} header is damaged ({error}). Get the file again"
        ) from error
    return Header(format_, file.width, file.height, file.mode, frames, orientation)


def _format(data):
    if data[4:8] == b"ftyp":  # ISO base media, with the kind after it.
        return data[8:12].decode("latin-1").strip()
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    found = (
        format_ for start, format_ in _SIGNATURES.items() if data.startswith(start)
    )
    return next(found, "empty" if not data else "unknown")


def _png_size(data):
    """Returns the size in the first chunk, which other decoders may use."""
    kind, width, height = struct.unpack_from(">4sII", data, 12)
    return (width, height) if kind == b"IHDR" else None


def _orientation(exif):
    tags = Image.Exif()
    try:
        tags.load(exif)
        value = tags.get(_ORIENTATION, 1)
    except BROKEN:  # Damaged EXIF data is ignored.
        return 1
    return value if value in range(1, 9) else 1
