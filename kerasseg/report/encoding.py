"""Images embedded in the page: resized, encoded and counted."""

import base64

import cv2
import numpy as np

from kerasseg import images

_QUALITY = 82  # JPEG quality, from 0 to 100.
_JPEG_OPTIONS = [
    *(cv2.IMWRITE_JPEG_QUALITY, _QUALITY, cv2.IMWRITE_JPEG_OPTIMIZE, 1),
    *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
]


class ImageBudget:
    """Limits the total size of the images of a page.

    Args:
        max_bytes: Maximum size of all images together, base64-encoded.

    Attributes:
        exceeded: Whether an image did not fit.
    """

    def __init__(self, max_bytes: int):
        self._remaining = max_bytes
        self.exceeded = False

    def reserve(self, *urls: str) -> bool:
        """Reserves space for images; returns whether there is enough."""
        size = sum(map(len, urls))
        if size > self._remaining:
            self.exceeded = True
            return False
        self._remaining -= size
        return True


def jpeg_url(image: np.ndarray) -> str:
    """Encodes RGB, uint8 `[height, width, 3]`, as the data URL of a JPEG."""
    image = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2BGR)
    data = cv2.imencode(".jpg", image, _JPEG_OPTIONS)[1].tobytes()
    return _data_url("jpeg", data)


def mask_url(mask: np.ndarray, palette: np.ndarray) -> str:
    """Encodes class indices `[height, width]` as the data URL of a palette PNG."""
    return _data_url("png", images.encode_palette_png(mask, palette))


def png_url(image: np.ndarray) -> str:
    """Encodes RGB, uint8 `[height, width, 3]`, as the data URL of a PNG."""
    return _data_url("png", images.encode_image(image))


def fit_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Reduces height and width to at most `side`, keeping the aspect ratio."""
    scale = min(1.0, side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def resize(
    pixels: np.ndarray, size: tuple[int, int], *, nearest: bool = False
) -> np.ndarray:
    """Reduces an image by averaging, or by nearest neighbor.

    Args:
        pixels: `[height, width]` or `[height, width, 3]`.
        size: Height and width of the result.
        nearest: Whether to use the nearest neighbor, as class indices require.
    """
    if pixels.shape[:2] == tuple(size):
        return pixels
    method = cv2.INTER_NEAREST_EXACT if nearest else cv2.INTER_AREA
    pixels = np.ascontiguousarray(pixels)
    return cv2.resize(pixels, (size[1], size[0]), interpolation=method)


def _data_url(format_, data):
    return f"data:image/{format_};base64,{base64.b64encode(data).decode('ascii')}"
