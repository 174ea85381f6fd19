"""Checks what annotation files of every format say, before anything is drawn.

Numbers of a file decide about memory and loops of compiled code only after they were
checked here. Error messages are parts of a sentence; callers add the file and the item.
"""

import base64
import binascii
import collections
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from kerasseg import errors, images
from kerasseg.records import brush_rle
from kerasseg.system import names
from tfrecords_tools.annotations.shapes import AnnotationError

LARGER = 16  # Most pixels of a label for each of its image, which may be resized.
REACH = 1  # Sizes of the image by which a shape may exceed it on each side.

Size = tuple[int, int]  # Height and width.


class DegenerateError(AnnotationError):
    """A shape that covers no part of the image."""


def field(item: Any, key: str, kind: type | tuple[type, ...], what: str) -> Any:
    """Returns a value of a JSON object.

    Args:
        item: The object.
        key: Key of the value.
        kind: Its expected type.
        what: What the object is, for the error message.

    Raises:
        AnnotationError: `item` is no object, or lacks a value of this type.
    """
    if not isinstance(item, dict):
        raise AnnotationError(f"{what} is {_short(item)}, expected a JSON object")
    if key not in item:
        raise AnnotationError(f'{what} has no "{key}"')
    if not isinstance(item[key], kind) or isinstance(item[key], bool):
        raise AnnotationError(f'{what} has the "{key}" {_short(item[key])}')
    return item[key]


def _short(value):
    text = repr(value) if not isinstance(value, (list, dict)) else type(value).__name__
    return text if len(text) <= 40 else f"{text[:37]}..."


def class_name(name: str, what: str) -> str:
    """Returns a name that can be that of a class.

    Raises:
        AnnotationError: It is empty, or cannot be printed in one line.
    """
    if not name.strip() or names.one_line(name) != name:
        raise AnnotationError(
            f"{what} has the name {_short(name)}, expected the name of a class in one "
            "line"
        )
    return name


def unique_keys(pairs: list[tuple[str, Any]]) -> dict:
    """Makes a JSON object, for `json.loads`; of equal keys all but one would vanish.

    Raises:
        AnnotationError: Two keys are equal.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = collections.Counter(key for key, _ in pairs)
        raise AnnotationError(
            f"an object has the key {_short(counts.most_common(1)[0][0])} twice"
        )
    return found


def whole(value: Any, what: str, minimum: int | None = 1) -> int:
    """Returns a value that must be a whole number, or the text of one in XML.

    Raises:
        AnnotationError: It is something else, or less than `minimum`.
    """
    try:
        number = int(value)
        is_whole = not isinstance(value, bool) and number == float(value)
    except (ValueError, TypeError, OverflowError):
        is_whole, number = False, 0
    if not is_whole or (minimum is not None and number < minimum):
        least = "" if minimum is None else f" of at least {minimum}"
        raise AnnotationError(
            f"{what} is {_short(value)}, expected a whole number{least}"
        )
    return number


def real(value: Any, what: str) -> float:
    """Returns a value that must be a finite number, or the text of one in XML.

    Raises:
        AnnotationError: It is something else.
    """
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (ValueError, TypeError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise AnnotationError(f"{what} is {_short(value)}, expected a finite number")
    return number


def area(size: Size, image_size: Size | None = None) -> None:
    """Checks the size of a label before it is allocated.

    Args:
        size: As given in the annotations.
        image_size: Of the image; None if it is not known.

    Raises:
        AnnotationError: It has too many pixels.
    """
    if image_size is None:
        limit, most = images.DEFAULT_MAX_PIXELS, f"{images.DEFAULT_MAX_PIXELS:,}"
    else:
        limit = LARGER * math.prod(image_size)
        most = f"{LARGER} times those of the image of {image_size[1]} x {image_size[0]}"
    if math.prod(size) > limit:
        raise AnnotationError(
            f"the annotations are for an image of {size[1]} x {size[0]} pixels, more "
            f"than {most}. Export the annotations again."
        )


def points(values: Any, size: Size) -> np.ndarray:
    """Returns corners, float `[corners, 2]`: x and y, within reach of the image.

    Raises:
        AnnotationError: They are not pairs of finite numbers, or lie too far away.
    """
    if not isinstance(values, (list, tuple)):
        raise AnnotationError(f"its points are {_short(values)}, expected a list")
    for pair in values:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise AnnotationError(f"its point {_short(pair)} is not a pair of numbers")
    return _within([_numbers(pair) for pair in values], size)


def _numbers(values):
    for value in values:
        if type(value) not in (int, float):
            raise AnnotationError(f"its coordinate {_short(value)} is not a number")
    return values


def _within(pairs, size):
    try:
        corners = np.array(pairs, float).reshape(-1, 2)
    except OverflowError:  # An integer with hundreds of digits.
        corners = np.array([[np.inf, np.inf]])
    end = np.array(size[::-1])
    inside = (corners >= -REACH * end) & (corners <= (1 + REACH) * end)
    if not inside.all():  # NaN is not inside either.
        raise AnnotationError(
            f"a polygon from {corners.min(axis=0).tolist()} to "
            f"{corners.max(axis=0).tolist()} lies far outside of the image of "
            f"{end[0]} x {end[1]} pixels"
        )
    return corners


def polygon(flat: Any, size: Size) -> list[float]:
    """Returns the corners of a polygon of COCO, x, y, x, y, ...

    Raises:
        DegenerateError: There are fewer than three.
        AnnotationError: They are not pairs of finite numbers, or lie too far away.
    """
    if not isinstance(flat, (list, tuple)):
        raise AnnotationError(f"its polygon is {_short(flat)}, expected a list")
    if len(flat) % 2:
        values = "value" if len(flat) == 1 else "values"
        raise AnnotationError(f"a polygon has {len(flat)} {values}, an odd number")
    corners = _within(_numbers(flat), size)
    _at_least_three(corners)
    return corners.ravel().tolist()


def _at_least_three(corners):
    if len(corners) < 3:
        noun = "corner" if len(corners) == 1 else "corners"
        raise DegenerateError(
            f"a polygon has {len(corners)} {noun}, expected at least three"
        )


def covers(corners: np.ndarray, size: Size) -> None:
    """Checks that corners lie around a part of the image.

    Raises:
        DegenerateError: All lie beyond one edge.
    """
    low, high = corners.min(axis=0), corners.max(axis=0)
    if (high < 0).any() or (low > size[::-1]).any():
        raise DegenerateError(
            f"it lies outside of the image of {size[1]} x {size[0]} pixels, from "
            f"{low.tolist()} to {high.tolist()}"
        )


def _surface(corners):
    """Returns twice the area of a polygon, by the shoelace formula."""
    x, y = corners.T
    return abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))


def runs(counts: Any, size: Size) -> list[int]:
    """Returns run lengths that add up to the pixels of a mask.

    Raises:
        AnnotationError: They are not whole numbers from 0, or add up to another number.
    """
    if not isinstance(counts, (list, tuple)):
        raise AnnotationError(f"its runs are {_short(counts)}, expected a list")
    lengths = [whole(count, "a run", 0) for count in counts]
    if sum(lengths) != size[0] * size[1]:
        raise AnnotationError(
            f"its runs do not add up to {size[0]} x {size[1]} pixels: a mask of "
            f"{size[1]} x {size[0]} pixels has {sum(lengths)} in its runs"
        )
    return lengths


def box(values: Iterable, size: Size) -> tuple[int, int, int, int]:
    """Returns left, top, width and height of a mask, within reach of the image.

    Raises:
        DegenerateError: It is empty, or outside of the image.
        AnnotationError: It is too large, or too far away.
    """
    edges = ("its left edge", "its upper edge", "its width", "its height")
    low = (-REACH * size[1], -REACH * size[0], 0, 0)
    left, top, width, height = (
        whole(value, name, minimum)
        for value, name, minimum in zip(values, edges, low, strict=True)
    )
    corners = _within([[left, top], [left + width, top + height]], size)
    if not width * height:
        raise DegenerateError(f"a mask of {width} x {height} pixels is empty")
    covers(corners, size)
    return left, top, width, height


def shape(kind: str, data: Any, size: Size) -> Any:
    """Checks the data of a shape, except for what must be decoded first.

    Args:
        kind: A key of `drawing.KINDS`.
        data: See there.
        size: Of the image.

    Raises:
        DegenerateError: It covers no part of the image.
        AnnotationError: It cannot be drawn.
    """
    if kind == "ids":
        return  # Checked when they are drawn.
    if kind == "coco":
        _coco(data, size)
    elif kind == "runs":
        mask_box, lengths = data
        _, _, width, height = box(mask_box, size)
        if not any(runs(lengths, (height, width))[1::2]):
            raise DegenerateError("its mask has no pixel")
    elif kind == "brush":
        _brush(data, size)
    elif kind == "picture":
        points([data[0]], size)
        if not isinstance(data[1], str):
            raise AnnotationError(f"its mask is {_short(data[1])}, expected base64")
    else:
        _labelme(kind, points(data, size), size)


def _brush(data, size):
    """Checks the size of a brush mask; its runs are checked when they are drawn."""
    try:
        count = brush_rle.num_values(base64.b64decode(data, validate=True))
    except (errors.UserError, binascii.Error) as error:
        raise AnnotationError(str(error)) from error
    if count != 4 * math.prod(size):
        raise AnnotationError(
            f"its brush mask has {count:,} values, expected {4 * math.prod(size):,}: "
            f"four for each pixel of an image of {size[1]} x {size[0]}"
        )


_COUNTS = {"rectangle": (2, 4), "circle": (2,)}


def _labelme(kind, corners, size):
    if kind == "polygon":
        _at_least_three(corners)
    elif len(corners) not in _COUNTS[kind]:
        expected = " or ".join(map(str, _COUNTS[kind]))
        points_ = "point" if len(corners) == 1 else "points"
        raise AnnotationError(f"it has {len(corners)} {points_}, expected {expected}")
    if kind == "circle":
        radius = math.dist(*corners)
        corners = np.stack([corners[0] - radius, corners[0] + radius])
    covers(corners, size)


def _coco(data, size):
    if isinstance(data, dict):
        return  # Run lengths may be compressed, and are checked when they are drawn.
    if not isinstance(data, list) or not data:
        raise AnnotationError(f"its segmentation is {_short(data)}")
    for flat in data:
        corners = np.reshape(polygon(flat, size), (-1, 2))
        covers(corners, size)
        if not _surface(corners):
            raise DegenerateError("the corners of a polygon lie on one line")
