"""Reads one image in a worker process with limited memory."""

import pathlib

import cv2

from kerasseg import errors, images
from kerasseg.system import files, limits, names

# Decoding, rotating and sending: three bytes each, and a margin.
_BYTES_PER_PIXEL = 24
_BASE_BYTES = 256 << 20


# What reading an image or a video in a worker process may raise.
FAILURES = (errors.UserError, OSError, MemoryError, cv2.error)


def reason(error: Exception, text: str, seconds: float) -> str:
    """Returns why a file could not be read, for failed.txt.

    Args:
        error: One of `FAILURES`.
        text: Path of the file in messages.
        seconds: Time limit of the worker process.
    """
    if isinstance(error, errors.UserError):
        return str(error)
    if isinstance(error, TimeoutError):
        return f"{text}: reading it takes more than {seconds:.0f} s"
    if isinstance(error, ChildProcessError):
        return f"{text}: it crashes its reader"
    if isinstance(error, OSError):
        return f"{text}: {error.strerror or error}"
    return f"{text}: reading it needs too much memory"


def limit_memory(max_pixels: int) -> None:
    """Limits the memory of this process to what reading an image may take.

    Args:
        max_pixels: Limit for the pixels of the image.
    """
    cv2.setNumThreads(1)  # Each thread maps memory.
    limits.limit_memory(_BASE_BYTES + max_pixels * _BYTES_PER_PIXEL)


def read(
    path: pathlib.Path, *, max_pixels: int, kind: images.ImageKind = images.RGB
) -> images.Raster:
    """Reads an image, and limits the memory of the process it runs in.

    Args:
        path: The file.
        max_pixels: Limit for the pixels; the memory is limited accordingly.
        kind: What the image must be.

    Returns:
        The image, upright, see `images.read_of_kind`.

    Raises:
        errors.UserError: It is not a regular file, or not a valid image, or of another
            kind.
        OSError: The file cannot be read.
        MemoryError: Reading it needs more memory than the limit.
    """
    limit_memory(max_pixels * (1 if kind.is_rgb else kind.channels))
    data, name = files.read_bytes(path), names.printable(path)
    return images.read_of_kind(data, kind, max_pixels=max_pixels, name=name)
