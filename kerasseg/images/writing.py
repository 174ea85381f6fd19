"""From pixels or class numbers to files."""

import io

import cv2
import numpy as np
from PIL import Image

from kerasseg import errors

IGNORE_COLOR = (224, 224, 192)  # PASCAL VOC's colour of label 255.


def encode_image(image: np.ndarray) -> bytes:
    """Packs RGB, uint8 `[height, width, 3]`, as a PNG."""
    return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


def encode_label(label: np.ndarray) -> bytes:
    """Packs numbers `[height, width]` as a grey PNG, 8-bit or 16-bit as they are.

    Raises:
        ValueError: Another type or shape.
    """
    if label.ndim != 2 or label.dtype not in (np.uint8, np.uint16):
        raise errors.UserError(
            f"A label is uint8 or uint16 [height, width], got {label.dtype} "
            f"{list(label.shape)}; cast it, and drop its channel axis"
        )
    return cv2.imencode(".png", label, [cv2.IMWRITE_PNG_COMPRESSION, 6])[1].tobytes()


def encode_palette_png(label: np.ndarray, palette: np.ndarray) -> bytes:
    """Packs class numbers as a PNG that shows colours and keeps the numbers.

    Args:
        label: Class numbers, uint8 `[height, width]`.
        palette: RGB of each class, uint8 `[num_classes, 3]`; 255 is `IGNORE_COLOR`.
    """
    colors = np.zeros((256, 3), np.uint8)
    colors[: len(palette)] = palette
    colors[255] = IGNORE_COLOR
    picture = Image.fromarray(np.ascontiguousarray(label, np.uint8))
    picture.putpalette(colors.tobytes())
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
