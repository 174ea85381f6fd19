"""From files of strangers to pixels, in processes that are limited and can die.

Already a header can keep a processor busy for half a minute, made of millions of parts.
"""

import asyncio
import functools
import pathlib
import resource
from concurrent import futures

import cv2
import numpy as np

from kerasseg import images
from kerasseg.serve.refusals import Refusal
from kerasseg.system import processes

_NAME = "The picture"
_SECONDS = 20.0  # Of one picture; a process that starts needs two of them.
_BYTES_A_PIXEL = 24  # Decoding, turning, sending: three bytes each, with room.
_BYTES_BESIDE = 256 << 20
_STATUS_OF_MEMORY = pathlib.Path("/proc/self/statm")  # Of Linux: pages mapped, first.


def read(data: bytes, upright: bool, *, max_pixels: int) -> np.ndarray:
    """Decodes a picture in a process that may use only so much memory.

    Args:
        data: The file's bytes.
        upright: Whether to turn it as EXIF says.
        max_pixels: Larger pictures are refused; memory is limited accordingly.

    Returns:
        RGB, uint8 `[height, width, 3]`.

    Raises:
        Refusal: 400, no picture that can be used; 413, too many pixels.
    """
    _limit_memory(_BYTES_BESIDE + max_pixels * _BYTES_A_PIXEL)
    try:
        _check(images.probe(data, name=_NAME), max_pixels)
        return images.read_image(
            data, max_pixels=max_pixels, apply_exif=upright, name=_NAME
        )
    except images.ImageError as error:
        raise Refusal(400, f"{error}.") from error


def _check(header, max_pixels):
    """Refuses bombs before anything is decoded."""
    num_pixels = header.width * header.height
    if num_pixels > max_pixels:
        raise Refusal(
            413,
            f"{_NAME} is {header.width} x {header.height} = {num_pixels:,} pixels, "
            f"wanted are at most {max_pixels:,}. Shrink it.",
        )
    if not num_pixels:
        raise Refusal(400, f"{_NAME} has no pixels.")


def _limit_memory(num_bytes):
    """Allows so much more than Python and its libraries have, once and for ever."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY or not _STATUS_OF_MEMORY.exists():
        return
    cv2.setNumThreads(1)  # Each thread would map a part of the limit.
    pages = int(_STATUS_OF_MEMORY.read_text().split()[0])
    limit = pages * resource.getpagesize() + num_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


class Decoder:
    """Decodes pictures in processes that can be killed without harm.

    Args:
        num_processes: How many pictures at once.
        max_pixels: Larger pictures are refused.
        function: Stands in for `read` in tests.
        seconds: After which a process is ended.
    """

    def __init__(
        self, num_processes: int, max_pixels: int, *, function=read, seconds=_SECONDS
    ):
        self._num_processes = num_processes
        call = functools.partial(function, max_pixels=max_pixels)
        self._processes = processes.Processes(call, num_processes, seconds=seconds)
        self._threads = futures.ThreadPoolExecutor(
            num_processes, thread_name_prefix="decoder"
        )

    async def decode(self, data: bytes, *, upright: bool) -> np.ndarray:
        """Decodes one picture.

        Args:
            data: The file's bytes.
            upright: Whether to turn it as EXIF says.

        Returns:
            RGB, uint8 `[height, width, 3]`.

        Raises:
            Refusal: 400, no picture that can be used; 413, too many pixels; 500, its
                process died of it; 504, it took too long.
        """
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(
                self._threads, self._processes, data, upright
            )
        except TimeoutError as error:
            raise Refusal(
                504, "The picture took too long to decode; save it anew, or shrink it."
            ) from error
        except (ChildProcessError, MemoryError) as error:
            raise Refusal(
                500, "The picture could not be decoded; save it anew, or shrink it."
            ) from error

    async def warm_up(self) -> None:
        """Starts every process, so that the first request finds them ready."""
        picture = images.encode_image(np.zeros((1, 1, 3), np.uint8))
        await asyncio.gather(
            *[self.decode(picture, upright=False) for _ in range(self._num_processes)]
        )

    def close(self) -> None:
        """Ends the processes."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._processes.__exit__(None, None, None)
