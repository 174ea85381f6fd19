"""Endings of the names of image files."""

# JPEG and PNG files, which are read.
READABLE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".pjpeg", ".pjp", ".mpo"),
    *(".png", ".apng"),
)
# Images of these formats are found too, so that each of them is reported.
UNREADABLE_SUFFIXES = (
    *(".bmp", ".dib", ".gif", ".tif", ".tiff", ".webp"),
    *(".heic", ".heif", ".avif", ".jxl", ".jp2"),
)
SUFFIXES = (*READABLE_SUFFIXES, *UNREADABLE_SUFFIXES)
