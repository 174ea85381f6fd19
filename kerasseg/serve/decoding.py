"""Decoding of untrusted image files, in worker processes with limited memory.

A malicious header alone, with millions of segments, can take half a minute of CPU time.
"""

import asyncio
import contextlib
import functools
import logging
import math
import resource
import signal
import time
from collections.abc import Callable
from concurrent import futures
from typing import Any

import numpy as np

from kerasseg import errors, images
from kerasseg.inference import reading
from kerasseg.serve import file_headers
from kerasseg.serve.request_errors import RequestError
from kerasseg.system import processes

_LOG = logging.getLogger(__name__)
_NAME = "The image"
_SECONDS = 20.0  # Timeout of one image; a process takes two of them to start.
_CPU_SECONDS, _CPU_SECONDS_PER_PIXEL = 2.0, 1e-6  # Ten times a usual image.


def read(
    data: bytes,
    upright: bool,
    kind: images.ImageKind = images.RGB,
    *,
    max_pixels: int,
) -> np.ndarray | images.Raster:
    """Decodes an image, and limits the memory of the process it runs in.

    Args:
        data: The file's bytes.
        upright: Whether to apply the EXIF rotation.
        kind: What the image must be: of 8-bit RGB, a JPEG or PNG file; of others, a
            file that `images.read_of_kind` reads.
        max_pixels: Limit for the pixels; the memory is limited accordingly.

    Returns:
        RGB, uint8 `[height, width, 3]`; or the `images.Raster` of another kind.

    Raises:
        RequestError: 400, not a valid image, or of another kind; 413, too many pixels.
    """
    reading.limit_memory(max_pixels * (1 if kind.is_rgb else kind.channels))
    _limit_cpu(_CPU_SECONDS)
    file_headers.check_structure(data)
    try:
        if kind.is_rgb:
            header = images.probe(data, name=_NAME, formats=images.RECORD_FORMATS)
        else:
            header = images.read_header(data, name=_NAME)
        check_pixels(header.height, header.width, max_pixels)
        num_pixels = header.height * header.width
        _limit_cpu(_CPU_SECONDS + num_pixels * _CPU_SECONDS_PER_PIXEL)
        options: dict[str, Any] = {
            "max_pixels": max_pixels,
            "apply_exif": upright,
            "name": _NAME,
        }
        if kind.is_rgb:
            return images.read_image(data, **options)
        return images.read_of_kind(data, kind, **options)
    except errors.UserError as error:
        raise RequestError(400, f"{str(error).rstrip('.')}.") from error


def check_pixels(height: int, width: int, max_pixels: int) -> None:
    """Checks the size of an image before it is decoded.

    Raises:
        RequestError: 400, it has no pixels; 413, too many.
    """
    num_pixels = width * height
    if num_pixels > max_pixels:
        raise RequestError(
            413,
            f"{_NAME} is {width} x {height} = {num_pixels:,} pixels, the limit is "
            f"{max_pixels:,}. Resize it.",
        )
    if not num_pixels:
        raise RequestError(400, f"{_NAME} has no pixels.")


def _limit_cpu(seconds):
    """Limits the further CPU time of the process, which a signal then ends."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    limit = math.ceil(usage.ru_utime + usage.ru_stime + seconds)
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(resource.RLIMIT_CPU, (limit, hard))


class Decoder:
    """Decodes images in worker processes, which may crash without harm.

    Args:
        num_processes: Number of worker processes.
        max_pixels: Limit for the pixels of an image.
        function: Replaces `read` in tests.
        seconds: Timeout of one image, after which its process is killed.
        on_output: See `processes.Processes`.
    """

    def __init__(
        self,
        num_processes: int,
        max_pixels: int,
        *,
        function: Callable = read,
        seconds: float = _SECONDS,
        on_output: Callable[[bytes], object] | None = None,
    ):
        self._num_processes = num_processes
        self._waiting: dict[object, float] = {}  # Start of each call.
        # Large images leave a process to small ones.
        self._large = asyncio.Semaphore(max(1, num_processes - 1))
        call = functools.partial(function, max_pixels=max_pixels)
        self._processes = processes.Processes(
            call, num_processes, seconds=seconds, num_spares=1, on_output=on_output
        )
        self._threads = futures.ThreadPoolExecutor(
            num_processes, thread_name_prefix="decoder"
        )

    @property
    def pids(self) -> list[int]:
        """Ids of the running worker processes."""
        return self._processes.pids

    @property
    def oldest_seconds(self) -> float:
        """Age of the oldest image that waits or is being decoded."""
        began = min(self._waiting.values(), default=None)
        return 0.0 if began is None else time.monotonic() - began

    async def decode(
        self,
        data: bytes,
        *,
        upright: bool,
        large: bool = False,
        kind: images.ImageKind = images.RGB,
    ) -> np.ndarray | images.Raster:
        """Decodes one image.

        Args:
            data: The file's bytes.
            upright: Whether to apply the EXIF rotation.
            large: Whether other images may overtake it.
            kind: What the image must be.

        Returns:
            RGB, uint8 `[height, width, 3]`; or the `images.Raster` of another kind.

        Raises:
            RequestError: 400, not a valid image; 413, too many pixels; 500, its process
                crashed; 504, the timeout passed.
        """
        place = object()
        self._waiting[place] = time.monotonic()
        try:
            async with self._large if large else contextlib.nullcontext():
                return await self._call(data, upright, kind)
        finally:
            del self._waiting[place]

    async def _call(self, data, upright, kind):
        loop = asyncio.get_running_loop()
        more = [] if kind.is_rgb else [kind]
        try:
            return await loop.run_in_executor(
                self._threads, self._processes, data, upright, *more
            )
        except TimeoutError as error:
            raise _too_slow() from error
        except (processes.WorkerDiedError, MemoryError) as error:
            status = getattr(error, "status", 0)
            if status == -signal.SIGXCPU:
                raise _too_slow() from error
            _LOG.warning(
                "A process that decoded an image ended with status %d, or had too "
                "little memory; another one replaces it.",
                status,
            )
            raise RequestError(
                500, "The image could not be decoded; save it again, or resize it."
            ) from error

    async def warm_up(self) -> None:
        """Starts all processes, and a spare one, before the first request."""
        await asyncio.to_thread(self._processes.start)
        image = images.encode_image(np.zeros((1, 1, 3), np.uint8))
        await asyncio.gather(
            *[self.decode(image, upright=False) for _ in range(self._num_processes)]
        )

    def close(self) -> None:
        """Stops the processes."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._processes.__exit__(None, None, None)


def _too_slow():
    return RequestError(
        504, "Decoding the image took too long; save it again, or resize it."
    )
