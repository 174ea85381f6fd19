"""What a picture says about itself, read without decoding it."""

import dataclasses
import io
import struct
import zlib

from PIL import Image, JpegImagePlugin, PngImagePlugin

from kerasseg import errors

_SIGNATURES = {  # First bytes; only the first two are read.
    b"\xff\xd8\xff": "jpeg",
    b"\x89PNG\r\n\x1a\n": "png",
    b"GIF8": "gif",
    b"RIFF": "webp",
    b"BM": "bmp",
    b"II*\x00": "tiff",
    b"MM\x00*": "tiff",
    b"\xff\x0a": "jpeg xl",
    b"\x00\x00\x00\x0cJXL ": "jpeg xl",
    b"<": "text, such as HTML or SVG",
}
_PLUGINS = {"jpeg": JpegImagePlugin.JpegImageFile, "png": PngImagePlugin.PngImageFile}
BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)
_ORIENTATION = 0x0112  # EXIF tag.


class ImageError(errors.UserError):
    """A picture that cannot be used; the text names it and says why."""


@dataclasses.dataclass(frozen=True)
class Header:
    """What a picture says about itself.

    Attributes:
        format: "jpeg" or "png".
        width: Columns as stored, before `orientation` is applied.
        height: Rows as stored.
        mode: Pillow's name of the kind of pixels, such as "RGB", "L", "P", "CMYK".
        frames: Pictures in the file; more than one is an animation.
        orientation: EXIF's, 1 (upright) to 8.
    """

    format: str
    width: int
    height: int
    mode: str
    frames: int
    orientation: int


def probe(data: bytes, *, name: str = "") -> Header:
    """Reads the header only, in milliseconds whatever the size of the picture.

    Args:
        data: The file's bytes.
        name: What errors call it.

    Raises:
        ImageError: No JPEG or PNG, or its header is damaged.
    """
    name = name or "The picture"
    kinds = (kind for start, kind in _SIGNATURES.items() if data.startswith(start))
    kind = next(kinds, "empty" if not data else "unknown")
    if kind not in _PLUGINS:
        raise ImageError(
            f"{name} is no JPEG or PNG file but {kind} (it starts with {data[:8]!r}). "
            "Convert it to JPEG or PNG"
        )
    try:
        file = _PLUGINS[kind](io.BytesIO(data))
        orientation = _orientation(file.info.get("exif", b""))
    except BROKEN as error:
        raise ImageError(
            f"{name}: the {kind} header is damaged ({error}). Get the file again"
        ) from error
    frames = getattr(file, "n_frames", 1)
    return Header(kind, file.width, file.height, file.mode, frames, orientation)


def _orientation(exif):
    tags = Image.Exif()
    try:
        tags.load(exif)
        value = tags.get(_ORIENTATION, 1)
    except BROKEN:  # Damaged EXIF turns nothing.
        return 1
    return value if value in range(1, 9) else 1
