"""Encodes pixels and class indices as PNG files."""

import io

import cv2
import numpy as np
from PIL import Image

from kerasseg import errors
from kerasseg.images import bit_masks
from kerasseg.images.class_rules import ClassRule

IGNORE_COLOR = (224, 224, 192)  # Color of label 255, as in PASCAL VOC.


def encode_image(image: np.ndarray) -> bytes:
    """Encodes an RGB image, uint8 `[height, width, 3]`, as PNG."""
    return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes()


def encode_label(label: np.ndarray) -> bytes:
    """Encodes class indices or instance ids as a gray PNG of 8 or 16 bits.

    Args:
        label: uint8 or uint16 `[height, width]`.

    Raises:
        errors.UserError: The array has another type or shape.
    """
    if label.ndim != 2 or label.dtype not in (np.uint8, np.uint16):
        raise errors.UserError(
            f"A label must be uint8 or uint16 [height, width], got {label.dtype} "
            f"{list(label.shape)}. Cast it, and drop its channel axis"
        )
    return cv2.imencode(".png", label, [cv2.IMWRITE_PNG_COMPRESSION, 6])[1].tobytes()


def encode_palette_png(label: np.ndarray, palette: np.ndarray) -> bytes:
    """Encodes class indices as a palette PNG: it shows colors and keeps the indices.

    Args:
        label: Class indices, uint8 `[height, width]`.
        palette: RGB of each class, uint8 `[num_classes, 3]`; 255 gets `IGNORE_COLOR`.
    """
    colors = np.zeros((256, 3), np.uint8)
    colors[: len(palette)] = palette
    colors[255] = IGNORE_COLOR
    image = Image.fromarray(np.ascontiguousarray(label, np.uint8))
    image.putpalette(colors.tobytes())
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def encode_mask(mask: np.ndarray, palette: np.ndarray, rule: ClassRule) -> bytes:
    """Encodes a predicted mask as a PNG file.

    Args:
        mask: Class numbers, uint8 `[height, width]`, or bits of classes, uint16.
        palette: RGB of each class, uint8 `[num_classes, 3]`.
        rule: How the mask was made.

    Returns:
        A palette PNG of class numbers; or a gray one of the bits, of 8 bits for up to 7
        classes, else of 16.
    """
    if rule.multi_label:
        return encode_label(mask.astype(bit_masks.dtype(len(palette))))
    return encode_palette_png(mask, palette)
