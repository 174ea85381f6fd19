"""Images of any number of channels, with 8 or 16 bits or floats, as they are stored.

PNG files of 16 bits, TIFF files and NumPy's `.npy` files are read without conversion.
TIFF files that Pillow does not read need the package tifffile (`kerasseg[tiff]`).
"""

import ast
import contextlib
import io
import math
import os
import struct
from typing import Any, NamedTuple

import numpy as np

from kerasseg import errors
from kerasseg.images import geo, headers, reading
from kerasseg.system import names
from kerasseg.system.image_kinds import DTYPES, MAX_CHANNELS, ImageKind

_NPY = b"\x93NUMPY"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PNG_GRAY, _PNG_RGB, _PNG_GRAY_ALPHA, _PNG_RGBA = 0, 2, 4, 6
_PNG_CHANNELS = {_PNG_GRAY: 1, _PNG_RGB: 3, _PNG_GRAY_ALPHA: 2, _PNG_RGBA: 4}
_AXES = frozenset({"YX", "YXS", "YXC", "SYX", "CYX", "QYX", "IYX"})
_MAX_HEADER = 1 << 16  # Bytes of the header of a .npy file.


class Raster(NamedTuple):
    """The pixels of a file.

    Attributes:
        pixels: uint8, uint16 or float32 `[height, width, channels]`; 0 where a value is
            missing.
        valid: Pixels whose values are all present, bool `[height, width]`: neither NaN
            nor the value that a GeoTIFF file names as missing. None for all.
        place: Where the image lies on Earth, of a GeoTIFF file; or None.
    """

    pixels: np.ndarray
    valid: np.ndarray | None = None
    place: geo.Place | None = None


def read_raster(
    source: bytes | str | os.PathLike,
    *,
    channels: int | None = None,
    max_pixels: int = reading.DEFAULT_MAX_PIXELS,
    apply_exif: bool = True,
    name: str | None = None,
) -> Raster:
    """Reads an image with its own channels and type.

    Of JPEG, BMP and WebP files and those of 8-bit gray or colors, red, green and blue
    are read, see `read_image`, unless `channels` says otherwise.

    Args:
        source: The bytes of the file, or its path.
        channels: Number of channels; None for those of the file. 1 reads 8-bit gray as
            one channel; 2 and 4 read an alpha channel, too.
        max_pixels: Larger images are refused before they are decoded.
        apply_exif: Whether to turn the image upright by its EXIF orientation.
        name: Name of the image in error messages; the path if None.

    Raises:
        ImageError: The image is too large, damaged, or has another number of channels,
            or a type that is not read.
        errors.MissingPackageError: tifffile is not installed.
        FileNotFoundError: The file does not exist.
    """
    data, name = reading.read_source(source, name)
    if data.startswith(_NPY):
        raster = _valid(decode_npy(data, max_pixels=max_pixels, name=name))
    elif data.startswith(_TIFF) and _needs_tifffile(data, channels):
        raster = _read_tiff(data, max_pixels, name)
    else:
        raster = Raster(_read_other(data, channels, max_pixels, apply_exif, name))
    count = raster.pixels.shape[2]
    if channels not in (None, count):
        raise headers.ImageError(
            f"{name} has {count} channels, expected {channels}. Give an image like the "
            "others"
        )
    if not 1 <= count <= MAX_CHANNELS:
        raise headers.ImageError(
            f"{name} has {count} channels, expected 1 to {MAX_CHANNELS}. Select some"
        )
    return raster


def read_header(data: bytes, *, name: str = "The image") -> headers.Header:
    """Reads the header of an image that `read_raster` reads, without decoding it.

    Args:
        data: The bytes of the file; of a TIFF file all of them.
        name: Name of the image in error messages.

    Raises:
        ImageError: See `read_raster`.
        errors.MissingPackageError: tifffile is not installed.
    """
    if data.startswith(_NPY):
        height, width = npy_size(data, name)
        return headers.Header("npy", width, height, "", 1, 1)
    if data.startswith(_TIFF) and _needs_tifffile(data, None):
        with _open_tiff(data, name) as (series, _):
            height, width = _tiff_sides(series)
            return headers.Header("tiff", width, height, "", 1, 1)
    return headers.probe(data, name=name)


def read_kind(source: bytes | str | os.PathLike, **options: Any) -> ImageKind:
    """Returns channels and type of an image file; see `read_raster` for arguments."""
    pixels = read_raster(source, **options).pixels
    return ImageKind(pixels.shape[2], str(pixels.dtype))


def read_of_kind(
    source: bytes | str | os.PathLike,
    kind: ImageKind,
    *,
    max_pixels: int = reading.DEFAULT_MAX_PIXELS,
    apply_exif: bool = True,
    name: str | None = None,
) -> Raster:
    """Reads an image whose channels and type must be those of a kind.

    Every image that `read_image` reads is one of 8-bit RGB, and so is an array.

    Raises:
        errors.UserError: See `read_raster`; or the image is of another kind.
        FileNotFoundError: The file does not exist.
    """
    data, name = reading.read_source(source, name)
    options: dict[str, Any] = {
        "max_pixels": max_pixels,
        "apply_exif": apply_exif,
        "name": name,
    }
    is_placed = data.startswith(_TIFF) and geo.has_place(data)
    if kind.is_rgb and not is_placed and not data.startswith(_NPY):
        return Raster(reading.read_image(data, **options))
    channels = None if kind.channels == 3 else kind.channels
    raster = read_raster(data, channels=channels, **options)
    kind.check(raster.pixels, name)
    return raster


def encode_npy(pixels: np.ndarray) -> bytes:
    """Encodes pixels as a `.npy` file, for records and requests."""
    file = io.BytesIO()
    np.lib.format.write_array(file, np.ascontiguousarray(pixels), version=(1, 0))
    return file.getvalue()


def is_npy(data: bytes) -> bool:
    """Returns whether bytes start as a `.npy` file does."""
    return data.startswith(_NPY)


def npy_size(data: bytes, name: str = "The image") -> tuple[int, int]:
    """Returns height and width in the header of a `.npy` file, without decoding it."""
    (height, width, *_), _, _ = _npy_header(data, name)
    return height, width


def decode_npy(
    data: bytes,
    *,
    max_pixels: int = reading.DEFAULT_MAX_PIXELS,
    name: str = "The image",
) -> np.ndarray:
    """Decodes a `.npy` file of an image; nothing in it is executed.

    Args:
        data: The file: `[height, width]` or `[height, width, channels]`, uint8, uint16,
            float16, float32 or float64.
        max_pixels: Larger images are refused.
        name: Name of the image in error messages.

    Returns:
        uint8, uint16 or float32 `[height, width, channels]`.

    Raises:
        ImageError: It is damaged, of another type or shape, or too large.
    """
    shape, dtype, start = _npy_header(data, name)
    header = headers.Header("npy", shape[1], shape[0], "", 1, 1)
    reading.check_pixels(header, max_pixels, name)
    count = math.prod(shape)
    if len(data) - start != count * dtype.itemsize:
        raise headers.ImageError(
            f"{name}: the npy file has {len(data) - start} bytes of pixels, its header "
            f"says {count * dtype.itemsize}. Get the file again"
        )
    pixels = np.frombuffer(data, dtype, offset=start).reshape(shape)
    return _as_supported(pixels, name)


def _npy_header(data, name):
    """Returns shape, type and start of the pixels."""
    try:
        length, start = struct.unpack_from("<H", data, 8)[0] + 10, 10
        if data[6] > 1:
            length, start = struct.unpack_from("<I", data, 8)[0] + 12, 12
        if length > min(_MAX_HEADER, len(data)):
            raise ValueError("the header is longer than the file")
        header = ast.literal_eval(data[start:length].decode("latin-1").strip())
        dtype, shape = np.dtype(header["descr"]), header["shape"]
        if header["fortran_order"] or dtype.hasobject:
            raise ValueError("it is in Fortran order, or holds objects")
        sides = [*map(int, shape)]
    except (ValueError, SyntaxError, KeyError, TypeError, IndexError) as error:
        raise _damaged_npy(name, error) from error
    except (struct.error, MemoryError, RecursionError, AttributeError) as error:
        raise _damaged_npy(name, error) from error
    if len(sides) not in (2, 3) or min(sides) < 1:
        raise headers.ImageError(
            f"{name} is an array of {sides}, expected [height, width] or [height, "
            "width, channels]. Move the channels last"
        )
    return tuple(sides), dtype, length


def _damaged_npy(name, error):
    return headers.ImageError(
        f"{name}: the npy header is damaged ({error}). Save the array again with "
        "numpy.save"
    )


def _as_supported(pixels, name):
    """Returns pixels of a supported type, with an axis of channels."""
    if pixels.ndim == 2:
        pixels = pixels[..., np.newaxis]
    kind = pixels.dtype.kind
    if kind == "f" and pixels.dtype.itemsize <= 8:
        with np.errstate(over="ignore"):  # Becomes infinite, which is missing.
            return np.ascontiguousarray(pixels, np.float32)
    if kind == "b":
        return pixels.astype(np.uint8)
    if kind == "u" and pixels.dtype.itemsize <= 2:
        return np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("="))
    raise headers.ImageError(
        f"{name} holds {pixels.dtype}, expected one of {', '.join(DTYPES)}. Convert it "
        "without loss: integers above 65535 or below 0 to float32"
    )


def _valid(pixels, missing=None, place=None):
    """Marks the pixels with a missing value, and sets these values to 0."""
    is_missing = np.zeros(pixels.shape[:2], bool)
    if pixels.dtype.kind == "f":
        is_missing |= ~np.isfinite(pixels).all(axis=-1)
    if missing is not None and not math.isnan(missing):
        is_missing |= (pixels == np.asarray(missing).astype(pixels.dtype)).any(axis=-1)
    if not is_missing.any():
        return Raster(pixels, None, place)
    pixels = np.where(is_missing[..., np.newaxis], pixels.dtype.type(0), pixels)
    return Raster(pixels, ~is_missing, place)


def _needs_tifffile(data, channels):
    """Returns whether a TIFF file has a place, or what Pillow would not read."""
    if channels in (1, 2, 4) or geo.has_place(data):
        return True
    try:
        headers.probe(data)
    except headers.ImageError:
        return True
    return False


@contextlib.contextmanager
def _open_tiff(data, name):
    """Yields the only image of a TIFF file, and its first page."""
    tifffile = geo.tifffile(name)
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            series = file.series[0]
            if series.axes not in _AXES or len(file.series) > 1:
                raise headers.ImageError(
                    f"{name} has {len(file.series)} images with the axes "
                    f"{series.axes}, expected one image of rows, columns and channels. "
                    "Save one of them"
                )
            if min(series.shape) < 1:
                raise headers.ImageError(f"{name} has no pixels. Get the file again")
            yield series, file.pages[0]
    except headers.ImageError:
        raise
    except Exception as error:  # Of whatever kind its decoders raise.
        raise headers.ImageError(
            f"{name}: the tiff file is damaged or of a kind that tifffile does not "
            f"read ({names.one_line(str(error))}). Save it without compression, or "
            "install kerasseg[tiff]"
        ) from error


def _tiff_sides(series):
    has_rows_first = series.axes.startswith("YX")
    return series.shape[:2] if has_rows_first else series.shape[1:]


def _read_tiff(data, max_pixels, name):
    with _open_tiff(data, name) as (series, page):
        height, width = _tiff_sides(series)
        header = headers.Header("tiff", width, height, "", 1, 1)
        reading.check_pixels(header, max_pixels, name)
        count = math.prod(series.shape) // (height * width)
        if count > MAX_CHANNELS:
            raise headers.ImageError(
                f"{name} has {count} channels, at most {MAX_CHANNELS} are read. Save "
                "some of them"
            )
        pixels = series.asarray()
        if pixels.shape != series.shape:  # tifffile logs that, and goes on.
            raise headers.ImageError(
                f"{name} is damaged: it has {pixels.size} values, its header says "
                f"{math.prod(series.shape)}. Get the file again"
            )
        place, missing = geo.read(page)
    if not series.axes.startswith("YX"):
        pixels = np.moveaxis(pixels, 0, -1)
    return _valid(_as_supported(pixels, name), missing, place)


def _read_other(data, channels, max_pixels, apply_exif, name):
    """Reads what `read_image` does, with the channels and bits of a PNG file."""
    header = headers.probe(data, name=name)
    kind = _PNG_CHANNELS.get(data[25]) if header.format == "png" else None
    has_16_bits = header.format == "png" and data[24] == 16
    is_gray = channels == 1 and header.mode in ("1", "L", "LA")
    as_stored = has_16_bits or (channels == kind and kind != 3 and not is_gray)
    if kind is None or not as_stored:
        colors = reading.read_image(
            data, max_pixels=max_pixels, apply_exif=apply_exif, name=name
        )
        return colors[..., :1].copy() if is_gray else colors
    pixels = reading.decode_unchanged(data, max_pixels, name)
    if pixels.ndim == 2:
        pixels = pixels[..., np.newaxis]
    if kind == 2 and pixels.shape[2] == 4:  # OpenCV repeats the gray values.
        pixels = pixels[..., [0, 3]]
    elif kind >= 3:
        pixels = pixels[..., [2, 1, 0, *range(3, pixels.shape[2])]]
    if has_16_bits and channels is None and kind in (2, 4):
        pixels = pixels[..., : kind - 1]  # Transparency, as of 8 bits.
    return np.ascontiguousarray(
        reading.turned(pixels, header.orientation if apply_exif else 1)
    )


def check_same(kind: ImageKind, other: ImageKind, what: str) -> None:
    """Checks that images are of the kind that something was made for.

    Args:
        kind: What is expected.
        other: Kind of the images.
        what: What the images are, in the error message.

    Raises:
        errors.UserError: Channels or type differ.
    """
    if (kind.channels, kind.dtype) != (other.channels, other.dtype):
        raise errors.UserError(
            f"{what} are {other}, expected {kind}. Give images with the channels and "
            "the type of the training images."
        )
