"""Draws shapes as class numbers."""

import base64
import io
import json
import math

import numpy as np
from PIL import Image, ImageDraw

from kerasseg import datasets, errors, images
from tfrecords_tools.annotations import coco
from tfrecords_tools.annotations.shapes import AnnotationError


def draw(text: str) -> np.ndarray:
    """Draws the label of an image.

    Args:
        text: JSON with the keys "size" (height and width), "ground" (the class number
            of the background), "largest_first" and "shapes" (class number, kind and
            data of each).

    Returns:
        Class numbers, uint8 `[height, width]`.

    Raises:
        AnnotationError: A shape is damaged, or does not fit into the image.
    """
    content = json.loads(text)
    size = content["size"]
    label = np.full(size, content["ground"], np.uint8)
    drawn = (
        (number, *_draw_shape(kind, data, size))
        for number, kind, data in content["shapes"]
    )
    back_to_front = sorted(drawn, key=_order) if content["largest_first"] else drawn
    for number, box, mask in back_to_front:
        label[box][mask] = number
    return label


def _order(shape):
    number, _, mask = shape
    return number != datasets.IGNORE_LABEL, -np.count_nonzero(mask)


def _draw_shape(kind, data, size):
    """Returns the bounding box and the mask in it; whole masks take too much memory."""
    try:
        mask = _DRAWERS[kind](data, size)
    except (AnnotationError, images.ImageError):
        raise
    except (ValueError, TypeError, LookupError, OSError) as error:
        raise AnnotationError(
            f"A {kind} cannot be drawn ({error}). Correct it in the editor, or export "
            "the annotations again."
        ) from error
    lines = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    box = tuple(slice(line[0], line[-1] + 1) for line in lines if line.size)
    return box, mask[box].copy()


def _draw_with_pillow(size, paint):
    canvas = Image.new("1", (size[1], size[0]))
    paint(ImageDraw.Draw(canvas))
    return np.asarray(canvas)


def _polygon(points, size):
    """Draws a polygon with its outline, as labelme does."""
    corners = [tuple(point) for point in points]
    if len(corners) < 3:
        raise AnnotationError(
            f"A polygon has {len(corners)} corners, expected at least three. Correct "
            "it in the editor."
        )
    return _draw_with_pillow(size, lambda pen: pen.polygon(corners, fill=1, outline=1))


def _rectangle(points, size):
    if len(points) not in (2, 4):
        raise errors.UserError(f"it has {len(points)} corners, expected two or four")
    columns, lines = zip(*points, strict=True)
    box = [min(columns), min(lines), max(columns), max(lines)]
    return _draw_with_pillow(size, lambda pen: pen.rectangle(box, fill=1, outline=1))


def _circle(points, size):
    """Draws a circle that is given by its center and a point on it."""
    (x, y), point = points
    radius = math.dist((x, y), point)
    box = [x - radius, y - radius, x + radius, y + radius]
    return _draw_with_pillow(size, lambda pen: pen.ellipse(box, fill=1, outline=1))


def _png(data, size):
    """Places a mask that is given by its upper left corner and a PNG in base64."""
    (left, top), encoded = data
    part = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("L")
    return _place(np.asarray(part) > 0, round(left), round(top), size)


def _runs(data, size):
    """Places a mask of CVAT: run lengths of 0 and 1 in turn, row by row in a box."""
    (left, top, width, height), runs = data
    if sum(runs) != width * height:
        raise AnnotationError(
            f"A mask of {width} x {height} pixels has {sum(runs)} in its runs. "
            "Export the annotations again."
        )
    values = np.repeat(np.arange(len(runs)) % 2, runs).astype(bool)
    return _place(values.reshape(height, width), left, top, size)


def _place(part, left, top, size):
    mask = np.zeros(size, bool)
    target = mask[top : top + part.shape[0], left : left + part.shape[1]]
    if min(left, top) < 0 or target.shape != part.shape[:2]:
        raise AnnotationError(
            f"A mask of {part.shape[1]} x {part.shape[0]} pixels at ({left}, {top}) "
            f"does not fit into the image of {size[1]} x {size[0]}. Export the "
            "annotations again."
        )
    target[:] = part
    return mask


def _coco(segmentation, size):
    return coco.decode(segmentation, tuple(size), "The image")


# Pairs hold these names as text, and the key of a build depends on that text.
_DRAWERS = {
    "polygon": _polygon,
    "rectangle": _rectangle,
    "circle": _circle,
    "picture": _png,
    "runs": _runs,
    "coco": _coco,
}
KINDS = frozenset(_DRAWERS)
