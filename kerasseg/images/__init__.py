"""Safe reading and writing of images and labels.

Only JPEG and PNG files are read, recognized by their first bytes and never by their
name. Width and height are checked in the header before anything is decoded, which makes
decompression bombs harmless.
"""

from kerasseg.images.detections import MIN_SCORE, Detections
from kerasseg.images.headers import Header, ImageError, probe
from kerasseg.images.reading import (
    DEFAULT_MAX_PIXELS,
    check_label_range,
    check_pixels,
    read_image,
    read_label,
    stores_plain_numbers,
)
from kerasseg.images.suffixes import READABLE_SUFFIXES, SUFFIXES
from kerasseg.images.writing import (
    IGNORE_COLOR,
    encode_image,
    encode_label,
    encode_palette_png,
)

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "IGNORE_COLOR",
    "MIN_SCORE",
    "READABLE_SUFFIXES",
    "SUFFIXES",
    "Detections",
    "Header",
    "ImageError",
    "check_label_range",
    "check_pixels",
    "encode_image",
    "encode_label",
    "encode_palette_png",
    "probe",
    "read_image",
    "read_label",
    "stores_plain_numbers",
]
