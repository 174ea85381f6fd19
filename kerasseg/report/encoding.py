"""Pictures as parts of the page: shrunk, packed and counted."""

import base64

import cv2
import numpy as np

from kerasseg import images

_QUALITY = 82  # Of a JPEG, from 0 to 100.
_WHOLE_COLORS = [
    *(cv2.IMWRITE_JPEG_QUALITY, _QUALITY, cv2.IMWRITE_JPEG_OPTIMIZE, 1),
    *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
]


class Album:
    """Counts the bytes of a page's pictures, and says when it is full.

    Args:
        most_bytes: Of all pictures together, as they stand in the page.
    """

    def __init__(self, most_bytes: int):
        self._room = most_bytes
        self.full = False

    def take(self, *addresses: str) -> bool:
        """Tells whether there is room for these pictures, and takes it."""
        size = sum(map(len, addresses))
        if size > self._room:
            self.full = True
            return False
        self._room -= size
        return True


def photo(image: np.ndarray) -> str:
    """Packs RGB, uint8 `[height, width, 3]`, as the address of a JPEG."""
    image = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2BGR)
    data = cv2.imencode(".jpg", image, _WHOLE_COLORS)[1].tobytes()
    return _address("jpeg", data)


def mask(label: np.ndarray, palette: np.ndarray) -> str:
    """Packs class numbers `[height, width]` as the address of a PNG in colours."""
    return _address("png", images.encode_palette_png(label, palette))


def drawing(image: np.ndarray) -> str:
    """Packs RGB, uint8 `[height, width, 3]`, as the address of a PNG."""
    return _address("png", images.encode_image(image))


def fitted(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Shrinks height and width, if need be, so that both are within `side`."""
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def resized(pixels: np.ndarray, size: tuple[int, int], *, numbers: bool = False):
    """Brings a picture to a height and width: by the mean of its pixels, or nearest.

    Args:
        pixels: `[height, width]` or `[height, width, 3]`.
        size: Height and width.
        numbers: Whether they are class numbers, of which there is no mean.
    """
    if pixels.shape[:2] == tuple(size):
        return pixels
    kind = cv2.INTER_NEAREST_EXACT if numbers else cv2.INTER_AREA
    pixels = np.ascontiguousarray(pixels)
    return cv2.resize(pixels, (size[1], size[0]), interpolation=kind)


def _address(kind, data):
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
