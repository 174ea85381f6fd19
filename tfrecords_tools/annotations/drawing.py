"""Draws shapes as class numbers."""

import base64
import json
import math

import numpy as np
from PIL import Image, ImageDraw

from kerasseg import datasets, images
from kerasseg.images import bit_masks
from kerasseg.records import brush_rle, rle
from tfrecords_tools.annotations import checking, coco, panoptic
from tfrecords_tools.annotations.shapes import AnnotationError, Instance


def draw(text: str, image_size: tuple[int, int] | None = None) -> np.ndarray:
    """Draws the label of an image.

    Args:
        text: JSON with the keys "size" (height and width), "ground" (the class number
            of the background), "largest_first" and "shapes" (class number, drawer, data
            and name of each); or with "fault", why there is no label. With
            "multi_label" a pixel has the classes of all its shapes.
        image_size: Height and width of the image, which limit the size of the label.

    Returns:
        Class numbers, uint8 `[height, width]`; with "multi_label" the bits of the
        classes, uint16, see `bit_masks`.

    Raises:
        AnnotationError: A shape is damaged, or does not fit to the image.
    """
    content = json.loads(text)
    if "fault" in content:
        raise AnnotationError(content["fault"])
    size = tuple(content["size"])
    checking.area(size, image_size)
    drawn = (_draw_shape(shape, size) for shape in content["shapes"])
    if content.get("multi_label"):
        return _combine(drawn, size)
    label = np.full(size, content["ground"], np.uint8)
    if content["largest_first"]:
        return coco.paint_largest_first(label, drawn)
    for number, mask in drawn:
        label[mask] = number
    return label


def _combine(drawn, size):
    """Returns the bits of the classes of all shapes at each pixel."""
    masks = np.zeros((*size, bit_masks.MAX_CLASSES), bool)
    ignored = np.zeros(size, bool)
    for number, mask in drawn:
        if number == datasets.IGNORE_LABEL:
            ignored |= mask
        else:
            bit_masks.bits(number + 1)  # Refuses too many classes.
            masks[..., number] |= mask
    return bit_masks.encode(masks, ignored)


def draw_instances(text: str) -> tuple[Instance, ...] | None:
    """Draws each object of an image alone.

    Args:
        text: JSON, see `draw`, which checks it, with the key "objects": the object of
            each shape, as its number, its class number, and whether it is a crowd; or
            None for stuff. The shapes of an object have one number.

    Returns:
        The objects in the order of their first shapes; None without the key.

    Raises:
        AnnotationError: A shape is damaged.
    """
    content = json.loads(text)
    if "objects" not in content:
        return None
    size = tuple(content["size"])
    masks: dict[tuple, np.ndarray] = {}
    for shape, key in zip(content["shapes"], content["objects"], strict=True):
        if key is None:
            continue
        _, mask = _draw_shape(shape, size)
        masks[tuple(key)] = masks.get(tuple(key), False) | mask
    return tuple(
        Instance(rle.encode(mask), number, is_crowd)
        for (_, number, is_crowd), mask in masks.items()
    )


def _draw_shape(shape, size):
    """Returns the class number and the mask."""
    number, drawer, data, *item = shape
    try:
        checking.shape(drawer, data, size)
        mask = _DRAWERS[drawer](data, size)
    except (ValueError, OSError) as error:
        raise AnnotationError(
            f"{item[0] if item else 'A shape'} (class number {number}) cannot be drawn "
            f"({str(error).rstrip('.')}). Correct it in the editor, or export the "
            "annotations again."
        ) from error
    return number, mask


def _draw_with_pillow(size, paint):
    canvas = Image.new("1", (size[1], size[0]))
    paint(ImageDraw.Draw(canvas))
    return np.asarray(canvas)


def _polygon(points, size):
    """Draws a polygon with its outline, as labelme does."""
    corners = [tuple(point) for point in points]
    return _draw_with_pillow(size, lambda pen: pen.polygon(corners, fill=1, outline=1))


def _rectangle(points, size):
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
    part = base64.b64decode(encoded)
    if images.probe(part, name="its mask").format != "png":
        raise AnnotationError("its mask is not a PNG file")
    most = (1 + 2 * checking.REACH) ** 2 * size[0] * size[1]
    pixels = images.read_image(part, max_pixels=most, name="its mask")
    return _place(pixels.any(axis=-1), round(left), round(top), size)


def _runs(data, size):
    """Places a mask of CVAT: run lengths of 0 and 1 in turn, row by row in a box."""
    (left, top, width, height), runs = data
    values = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return _place(values.reshape(height, width), left, top, size)


def _brush(data, size):
    """Decodes a brush mask of Label Studio, given in base64."""
    return brush_rle.decode(base64.b64decode(data), size)


def _place(part, left, top, size):
    """Places a mask in an image, which cuts it at its edges."""
    mask = np.zeros(size, bool)
    top_left = np.array([top, left])
    start = np.maximum(top_left, 0)
    end = np.maximum(start, np.minimum(top_left + part.shape, size))
    mask[tuple(map(slice, start, end))] = part[
        tuple(map(slice, start - top_left, end - top_left))
    ]
    return mask


# Pairs hold these names as text, and the key of a build depends on that text.
_DRAWERS = {
    "polygon": _polygon,
    "rectangle": _rectangle,
    "circle": _circle,
    "picture": _png,
    "runs": _runs,
    "coco": coco.rasterize,
    "brush": _brush,
    "ids": panoptic.rasterize,
}
KINDS = frozenset(_DRAWERS)
