"""Safe reading and writing of images and labels.

JPEG, PNG, BMP, WebP and TIFF files are read, recognized by their first bytes and never
by their name; records hold JPEG and PNG files only. Width and height are checked in the
header before anything is decoded, which makes decompression bombs harmless.
"""

from kerasseg.images.detections import MIN_SCORE, Detections
from kerasseg.images.headers import RECORD_FORMATS, Header, ImageError, probe
from kerasseg.images.rasters import (
    Raster,
    check_same,
    decode_npy,
    encode_npy,
    is_npy,
    npy_size,
    read_header,
    read_kind,
    read_of_kind,
    read_raster,
)
from kerasseg.images.reading import (
    DEFAULT_MAX_PIXELS,
    check_label_range,
    check_pixels,
    read_image,
    read_label,
    stores_plain_numbers,
)
from kerasseg.images.suffixes import (
    CONVERTED_SUFFIXES,
    READABLE_SUFFIXES,
    SUFFIXES,
    without_arrays,
)
from kerasseg.images.writing import (
    IGNORE_COLOR,
    encode_image,
    encode_label,
    encode_mask,
    encode_palette_png,
)
from kerasseg.system.image_kinds import RGB, ImageKind

__all__ = [
    "CONVERTED_SUFFIXES",
    "DEFAULT_MAX_PIXELS",
    "IGNORE_COLOR",
    "MIN_SCORE",
    "READABLE_SUFFIXES",
    "RECORD_FORMATS",
    "RGB",
    "SUFFIXES",
    "Detections",
    "Header",
    "ImageError",
    "ImageKind",
    "Raster",
    "check_label_range",
    "check_pixels",
    "check_same",
    "decode_npy",
    "encode_image",
    "encode_label",
    "encode_mask",
    "encode_npy",
    "encode_palette_png",
    "is_npy",
    "npy_size",
    "probe",
    "read_header",
    "read_image",
    "read_kind",
    "read_label",
    "read_of_kind",
    "read_raster",
    "stores_plain_numbers",
    "without_arrays",
]
