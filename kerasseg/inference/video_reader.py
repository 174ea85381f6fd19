"""Reads a video frame by frame, in a worker process with limited memory.

FFmpeg recognizes formats by their content, among them playlists, which read other files
or addresses: only the formats of `_is_container` are opened.
"""

import os
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from kerasseg import images
from kerasseg.system import files, limits, names

_BYTES_PER_PIXEL = 24
_BASE_BYTES = 4 << 30  # Decoders keep many frames, and each thread maps memory.
_ISO_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")
_captures: list[cv2.VideoCapture] = []  # Of this process: at most one.


def call(function: Callable, *arguments: Any) -> Any:
    """Calls a function of this module, for `processes.Processes`."""
    return function(*arguments)


def start(path: os.PathLike, max_pixels: int) -> tuple[float, int]:
    """Opens a video, of which `next_frame` reads the frames.

    Args:
        path: The file.
        max_pixels: Upper limit for the pixels of a frame; the memory is limited
            accordingly.

    Returns:
        Frames per second, and the number of frames, as the file states them.

    Raises:
        errors.UserError: It is not a regular file, OpenCV cannot read it, or the frames
            are too large.
        OSError: The file cannot be read.
    """
    limits.limit_memory(_BASE_BYTES + max_pixels * _BYTES_PER_PIXEL)
    text = names.printable(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    files.check_regular(os.fstat(descriptor), path)
    # By its descriptor: OpenCV takes no name that is not UTF-8, and some as patterns.
    source = f"/dev/fd/{descriptor}"
    if (
        not _is_container(os.pread(descriptor, 12, 0))
        or not (capture := cv2.VideoCapture(source, cv2.CAP_FFMPEG)).isOpened()
    ):
        raise images.ImageError(
            f"{text} is damaged, or not a video that OpenCV can read. Get the file "
            f"again, or convert it to MP4"
        )
    width = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
    height = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    if width * height > max_pixels:
        raise images.ImageError(
            f"{text} has frames of {width} x {height} = {width * height:,} pixels, "
            f"the limit is {max_pixels:,}. Resize it, or raise max_pixels"
        )
    _captures[:] = [capture]
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    return capture.get(cv2.CAP_PROP_FPS), count


def next_frame() -> np.ndarray | None:
    """Returns RGB, uint8 `[height, width, 3]`; None at the end of the video."""
    good, frame = _captures[0].read()
    return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB) if good else None


def _is_container(head):
    """Returns whether a file starts like MP4, MOV, AVI, MKV or WebM."""
    return (
        head[4:8] in _ISO_BOXES
        or (head[:4], head[8:12]) == (b"RIFF", b"AVI ")
        or head[:4] == b"\x1aE\xdf\xa3"
    )
