"""Pictures and labels from anywhere, read safely: look, check the size, then decode.

Only JPEG and PNG are read, told by their first bytes and never by their name. Width and
height come from the header, so that a decompression bomb costs nothing.
"""

from kerasseg.images.headers import Header, ImageError, probe
from kerasseg.images.reading import (
    DEFAULT_MAX_PIXELS,
    read_image,
    read_label,
    stores_plain_numbers,
)
from kerasseg.images.writing import (
    IGNORE_COLOR,
    encode_image,
    encode_label,
    encode_palette_png,
)

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "IGNORE_COLOR",
    "Header",
    "ImageError",
    "encode_image",
    "encode_label",
    "encode_palette_png",
    "probe",
    "read_image",
    "read_label",
    "stores_plain_numbers",
]
