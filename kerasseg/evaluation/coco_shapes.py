"""Polygons and run lengths of COCO, checked before compiled code reads them."""

from typing import Any

import numpy as np

from kerasseg import errors
from kerasseg.records import rle
from kerasseg.system import json_values

_REACH = 1  # Sizes of the image by which a polygon may exceed it on each side.


def encode(segmentation: Any, size: tuple[int, int]) -> bytes:
    """Encodes a segmentation as COCO's compressed string of runs.

    Args:
        segmentation: Lists of x, y, x, y, ... in pixels, at least three corners each;
            or a dict with "size" (height and width) and "counts", a list of run lengths
            or their compressed string.
        size: Height and width of the image.

    Raises:
        errors.MissingPackageError: pycocotools is not installed.
        errors.UserError: It is something else, damaged, or of another size. The message
            does not name the image.
    """
    if isinstance(segmentation, dict):
        return _encode_runs(segmentation, size)
    if not isinstance(segmentation, list) or not segmentation:
        raise errors.UserError(
            f"it is {json_values.shorten(segmentation)}, expected polygons or run "
            "lengths"
        )
    polygons = [_polygon(corners, size) for corners in segmentation]
    coco_mask = _coco_mask()
    return coco_mask.merge(coco_mask.frPyObjects(polygons, *size))["counts"]


def _encode_runs(segmentation, size):
    given = json_values.get(segmentation, "size", list, "it")
    if given != list(size):
        raise errors.UserError(
            f"its size is {str(given)[:40]}, that of the image {list(size)}"
        )
    counts = segmentation.get("counts")
    if isinstance(counts, str):
        text = counts.encode("ascii", "replace")
        rle.read(text, size)  # Raises for damaged runs.
        return text
    counts = json_values.get(segmentation, "counts", list, "it")
    counts = [json_values.integer(count, "a run length") for count in counts]
    if sum(counts) != size[0] * size[1]:
        raise errors.UserError(
            f"its run lengths add up to {sum(counts)} pixels, the image has "
            f"{size[0] * size[1]}"
        )
    runs = {"size": list(size), "counts": counts}
    return _coco_mask().frPyObjects(runs, *size)["counts"]


def _polygon(corners, size):
    json_values.check(corners, list, "a polygon")
    for value in corners:
        if type(value) not in (int, float):
            raise errors.UserError(
                f"a coordinate is {json_values.shorten(value)}, expected a number"
            )
    if len(corners) < 6 or len(corners) % 2:
        raise errors.UserError(
            f"a polygon has {len(corners)} numbers, expected x and y of three or more "
            "corners"
        )
    try:
        points = np.array(corners, float).reshape(-1, 2)
    except OverflowError:  # An integer with hundreds of digits.
        points = np.full((1, 2), np.inf)
    end = np.array(size[::-1])
    inside = (points >= -_REACH * end) & (points <= (1 + _REACH) * end)
    if not inside.all():  # NaN is not inside, either.
        raise errors.UserError(
            f"a polygon from {points.min(axis=0).tolist()} to "
            f"{points.max(axis=0).tolist()} lies far outside of the image of "
            f"{size[1]} x {size[0]} pixels"
        )
    return points.ravel().tolist()


def box(text: bytes, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Returns the smallest box around a mask: y1, x1, y2, x2 in pixels.

    Args:
        text: The mask, as `encode` returns it.
        size: Height and width of the image.
    """
    x, y, width, height = _coco_mask().toBbox({"size": list(size), "counts": text})
    return float(y), float(x), float(y + height), float(x + width)


def _coco_mask():
    try:
        from pycocotools import mask
    except ImportError as error:
        raise errors.MissingPackageError(
            "Masks in COCO's format are read by pycocotools. It is not installed: pip "
            "install 'kerasseg[datasets]'."
        ) from error
    return mask
