"""From shapes to class numbers."""

import base64
import io
import json
import math

import numpy as np
from PIL import Image, ImageDraw

from kerasseg import datasets, errors, images
from tfrecords_tools.annotations.shapes import AnnotationError
from tfrecords_tools.converters import coco_masks


def draw(text: str) -> np.ndarray:
    """Draws what `annotations.encode` packed.

    Returns:
        Class numbers, uint8 `[height, width]`.

    Raises:
        AnnotationError: A shape is damaged, or does not fit into the picture.
    """
    facts = json.loads(text)
    size = facts["size"]
    label = np.full(size, facts["ground"], np.uint8)
    drawn = (
        (number, *_drawn(kind, data, size)) for number, kind, data in facts["shapes"]
    )
    from_below = sorted(drawn, key=_order) if facts["largest_first"] else drawn
    for number, box, mask in from_below:
        label[box][mask] = number
    return label


def _order(shape):
    number, _, mask = shape
    return number != datasets.IGNORE_LABEL, -np.count_nonzero(mask)


def _drawn(kind, data, size):
    """Returns where a shape lies, and its mask there: many whole ones are too large."""
    try:
        mask = _DRAWERS[kind](data, size)
    except (AnnotationError, images.ImageError):
        raise
    except (ValueError, TypeError, LookupError, OSError) as error:
        raise AnnotationError(
            f"A {kind} cannot be drawn ({error}). Correct it in the editor, or export "
            "the annotations again"
        ) from error
    lines = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    box = tuple(slice(line[0], line[-1] + 1) for line in lines if line.size)
    return box, mask[box].copy()


def _pillow(size, paint):
    canvas = Image.new("1", (size[1], size[0]))
    paint(ImageDraw.Draw(canvas))
    return np.asarray(canvas)


def _polygon(points, size):
    """A polygon with its outline, as labelme draws it."""
    corners = [tuple(point) for point in points]
    if len(corners) < 3:
        raise AnnotationError(
            f"A polygon has {len(corners)} corners, at least three are wanted. Correct "
            "it in the editor"
        )
    return _pillow(size, lambda pen: pen.polygon(corners, fill=1, outline=1))


def _rectangle(points, size):
    if len(points) not in (2, 4):
        raise errors.UserError(
            f"it has {len(points)} corners, wanted are two or all four"
        )
    columns, lines = zip(*points, strict=True)
    box = [min(columns), min(lines), max(columns), max(lines)]
    return _pillow(size, lambda pen: pen.rectangle(box, fill=1, outline=1))


def _circle(points, size):
    """A circle of its centre and a point of it."""
    (x, y), point = points
    radius = math.dist((x, y), point)
    box = [x - radius, y - radius, x + radius, y + radius]
    return _pillow(size, lambda pen: pen.ellipse(box, fill=1, outline=1))


def _picture(data, size):
    """A PNG, as base64, with its upper left corner."""
    (left, top), encoded = data
    part = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("L")
    return _placed(np.asarray(part) > 0, round(left), round(top), size)


def _runs(data, size):
    """CVAT's runs, row by row, of 0 and 1 in turn, within a box."""
    (left, top, width, height), runs = data
    if sum(runs) != width * height:
        raise AnnotationError(
            f"A mask of {width} x {height} pixels has {sum(runs)} in its runs. "
            "Export the annotations again"
        )
    values = np.repeat(np.arange(len(runs)) % 2, runs).astype(bool)
    return _placed(values.reshape(height, width), left, top, size)


def _placed(part, left, top, size):
    mask = np.zeros(size, bool)
    target = mask[top : top + part.shape[0], left : left + part.shape[1]]
    if min(left, top) < 0 or target.shape != part.shape[:2]:
        raise AnnotationError(
            f"A mask of {part.shape[1]} x {part.shape[0]} pixels at ({left}, {top}) "
            f"leaves the picture of {size[1]} x {size[0]}. Export the annotations again"
        )
    target[:] = part
    return mask


def _coco(segmentation, size):
    return coco_masks.decode(segmentation, tuple(size), "The picture")


_DRAWERS = {
    "polygon": _polygon,
    "rectangle": _rectangle,
    "circle": _circle,
    "picture": _picture,
    "runs": _runs,
    "coco": _coco,
}
KINDS = frozenset(_DRAWERS)
