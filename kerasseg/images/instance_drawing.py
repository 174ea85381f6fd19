"""Drawings of instances: outlines, boxes and captions on an image."""

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from kerasseg.images.detections import MIN_SCORE, Detections

_FILL = 0.35  # Weight of an instance's color inside of its outline.
_DARK, _LIGHT = (0, 0, 0), (255, 255, 255)
_SMALL = 300  # Longer side of images with the thinnest lines.
_MAX_SIDE = 8192  # Pixels by which a drawn box may exceed the image.


@dataclasses.dataclass(frozen=True, eq=False)
class Drawing:
    """An instance to draw.

    Attributes:
        color: RGB, 0 to 255.
        mask: bool `[height, width]`, which is filled and outlined; or None.
        box: y1, x1, y2, x2 in pixels; or None.
        caption: Text at the upper left corner of the box.
    """

    color: tuple[int, int, int]
    mask: np.ndarray | None = None
    box: Sequence[float] | None = None
    caption: str = ""


def draw_instances(image: np.ndarray, drawings: Sequence[Drawing]) -> np.ndarray:
    """Draws instances on an image: first all masks, then boxes, then captions.

    Lines and captions grow with the image.

    Args:
        image: RGB, uint8 `[height, width, 3]`; it is not changed.
        drawings: The instances; later ones cover earlier ones.

    Returns:
        RGB, uint8 `[height, width, 3]`.
    """
    result = np.array(image)
    side = max(image.shape[:2])
    thickness = 1 if side < _SMALL else max(2, round(side / 400))
    for each in drawings:
        if each.mask is not None:
            _draw_mask(result, each.mask, each.color, thickness)
    for each in drawings:
        if each.box is not None:
            _draw_box(result, each.box, each.color, thickness - thickness // 2)
    if any(each.caption and each.box is not None for each in drawings):
        result = _with_captions(result, drawings)
    return result


def overlay_detections(
    image: np.ndarray,
    detections: Detections,
    class_names: Sequence[str],
    palette: np.ndarray,
    *,
    min_score: float = MIN_SCORE,
) -> np.ndarray:
    """Draws outlines, boxes, class names and scores of detections.

    Args:
        image: RGB, uint8 `[height, width, 3]`.
        detections: Its detections; those of highest score are drawn last.
        class_names: Names of all classes; class 0 is the background.
        palette: RGB of each class, `[num_classes, 3]`, 0..255.
        min_score: Detections below it are not drawn.

    Returns:
        RGB, uint8 `[height, width, 3]`.
    """
    kept = detections.above(min_score)
    order = np.argsort(-np.asarray(kept.scores), kind="stable")[::-1]
    drawings = [
        Drawing(
            tuple(np.asarray(palette)[kept.classes[i]].tolist()),
            None if kept.masks is None else np.asarray(kept.masks[i]),
            kept.boxes[i],
            f"{class_names[kept.classes[i]]} {kept.scores[i]:.2f}",
        )
        for i in order
    ]
    return draw_instances(image, drawings)


def _draw_mask(image, mask, color, thickness):
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    if not width:
        return
    around = thickness + 1  # Of which the outline may exceed the mask.
    rows = slice(max(top - around, 0), top + height + around)
    columns = slice(max(left - around, 0), left + width + around)
    part = np.ascontiguousarray(mask[rows, columns])
    view = image[rows, columns]
    filled = view[part] * (1 - _FILL) + np.array(color) * _FILL
    view[part] = filled.astype(np.uint8)
    lines, _ = cv2.findContours(
        part.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
    )
    drawn = np.ascontiguousarray(view)
    if thickness > 1:  # An edge that is visible on any background.
        cv2.drawContours(drawn, lines, -1, _contrast(color), thickness + 2)
    cv2.drawContours(drawn, lines, -1, color, thickness)
    image[rows, columns] = drawn


def _corners(box, image):
    """Returns the first and last pixel of a box, x and y, at most near the image."""
    height, width = image.shape[:2]
    y1, x1, y2, x2 = np.clip(box, -_MAX_SIDE, max(height, width) + _MAX_SIDE)
    first = round(float(x1)), round(float(y1))
    last = (
        max(round(float(x2)) - 1, first[0]),
        max(round(float(y2)) - 1, first[1]),
    )
    return first, last


def _draw_box(image, box, color, thickness):
    first, last = _corners(box, image)
    cv2.rectangle(image, first, last, color, thickness)


def _with_captions(image, drawings):
    canvas = Image.fromarray(image)
    pen = ImageDraw.Draw(canvas)
    height, width = image.shape[:2]
    font = ImageFont.load_default(int(np.clip(max(height, width) / 38, 9, 28)))
    for each in drawings:
        if not each.caption or each.box is None:
            continue
        (x, y), _ = _corners(each.box, image)
        left, top, right, bottom = pen.textbbox((0, 0), each.caption, font)
        size = right - left + 4, bottom - top + 4
        x = max(0, min(x, width - size[0]))
        y = y - size[1] if y >= size[1] else y  # Above the box, or inside of it.
        y = max(0, min(y, height - size[1]))
        pen.rectangle((x, y, x + size[0] - 1, y + size[1] - 1), each.color)
        text_color = _contrast(each.color)
        pen.text((x + 2 - left, y + 2 - top), each.caption, text_color, font)
    return np.array(canvas)


def _contrast(color):
    """Returns black for light colors, and white for dark ones."""
    red, green, blue = color
    return _DARK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else _LIGHT
