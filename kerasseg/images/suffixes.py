"""Endings of the names of image files."""

# Files that are read, and stored in records as PNG.
CONVERTED_SUFFIXES = (".bmp", ".dib", ".tif", ".tiff", ".webp")
ARRAY_SUFFIXES = (".npy",)
READABLE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".pjpeg", ".pjp", ".mpo"),
    *(".png", ".apng"),
    *CONVERTED_SUFFIXES,
    *ARRAY_SUFFIXES,
)
# Images of these formats are found too, so that each of them is reported.
UNREADABLE_SUFFIXES = (".gif", ".heic", ".heif", ".avif", ".jxl", ".jp2")
SUFFIXES = (*READABLE_SUFFIXES, *UNREADABLE_SUFFIXES)
