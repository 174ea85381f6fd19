"""The cost of an image: seconds and memory of the network, measured at warm-up."""

import dataclasses
import math
import pathlib

from kerasseg.inference import tiles
from kerasseg.serve.request_errors import RequestError
from kerasseg.system import memory

SMALLEST_SIDE = 32  # Networks pad smaller sides to this.
_DECAY = 0.8  # Of the moving average of the seconds per pixel.
_TYPICAL_PIXELS = 2**16  # Below, the fixed costs of a call dominate.
_STATUS = pathlib.Path("/proc/self/status")
_CLEAR = pathlib.Path("/proc/self/clear_refs")


class Cost:
    """Seconds and bytes per pixel of one version of a model.

    Args:
        seconds_per_pixel: Initial estimate; 0 if it is unknown.
        bytes_per_pixel: Memory of a call; 0 if it is unknown.
    """

    def __init__(self, seconds_per_pixel: float = 0.0, bytes_per_pixel: float = 0.0):
        self.seconds_per_pixel = seconds_per_pixel
        self.bytes_per_pixel = bytes_per_pixel
        self._most_pixels = 0  # Of a call; the process keeps its memory.

    def seconds(self, num_pixels: int) -> float:
        """Estimates the time of a number of pixels."""
        return num_pixels * self.seconds_per_pixel

    def observe(self, num_pixels: int, seconds: float) -> None:
        """Corrects the estimate by the time that a call took.

        Small calls, whose fixed costs dominate, can only lower it.
        """
        rate = seconds / num_pixels
        self._most_pixels = max(self._most_pixels, num_pixels)
        if num_pixels >= _TYPICAL_PIXELS or rate < self.seconds_per_pixel:
            known = self.seconds_per_pixel or rate
            self.seconds_per_pixel = _DECAY * known + (1 - _DECAY) * rate

    def check_memory(self, num_pixels: int) -> None:
        """Checks that one call fits into the memory.

        Raises:
            RequestError: 413, it does not.
        """
        if num_pixels <= self._most_pixels:
            return
        needed = num_pixels * self.bytes_per_pixel
        available = memory.available() + self._most_pixels * self.bytes_per_pixel
        if needed > available:
            raise RequestError(
                413,
                f"The computation would take about {needed / 2**30:.2f} GiB of memory, "
                f"{available / 2**30:.2f} GiB are available; send a smaller image.",
            )


class PeakMemory:
    """Measures the growth of the process's peak memory; 0 where it is unknown.

    Another thread that allocates memory at the same time is included.
    """

    def __init__(self):
        self._before = 0
        try:
            _CLEAR.write_text("5")  # Resets the peak, see proc(5).
            self._before = _resident("VmRSS")
        except (OSError, LookupError):
            return

    def growth(self) -> int:
        """Returns the bytes since the object was created."""
        if not self._before:
            return 0
        return max(0, _resident("VmHWM") - self._before)


def _resident(key):
    lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
    return int(lines[key].split()[0]) * 1024


@dataclasses.dataclass(frozen=True)
class Plan:
    """How an image is computed.

    Attributes:
        tiled: Whether it is predicted in tiles.
        num_pixels: All computed pixels. Those that tiles share count several times.
        call_pixels: Pixels of the largest call of the network.
        large: Whether smaller images go first.
    """

    tiled: bool
    num_pixels: int
    call_pixels: int
    large: bool


def plan(height: int, width: int, tile_size: int, *, tiled: bool = True) -> Plan:
    """Plans the computation of an image.

    Args:
        height: Rows of the image.
        width: Columns of the image.
        tile_size: Images with a longer side are predicted in tiles of this size.
        tiled: False if images of any size are predicted as a whole.
    """
    if not tiled or max(height, width) <= tile_size:
        num_pixels = padded(height) * padded(width)
        return Plan(False, num_pixels, num_pixels, is_large(num_pixels, tile_size))
    sides = [
        [padded(end - start) for start, end in tiles.spans(side, tile_size)]
        for side in (height, width)
    ]
    num_pixels = math.prod(sum(lengths) for lengths in sides)
    return Plan(True, num_pixels, math.prod(max(lengths) for lengths in sides), True)


def is_large(num_pixels: int, tile_size: int) -> bool:
    """Returns whether a call has more pixels than a quarter of a tile."""
    return 4 * num_pixels > tile_size**2


def padded(side: int) -> int:
    """Returns the length of a side after padding."""
    return max(side, SMALLEST_SIDE)
