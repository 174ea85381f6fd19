"""Outlines of the regions of a mask, as polygons in the manner of COCO."""

import cv2
import numpy as np

from kerasseg.datasets import IGNORE_LABEL


def annotations(label: np.ndarray, *, tolerance: float = 1.0) -> list[dict]:
    """Outlines every connected region of one class.

    Args:
        label: Class numbers, uint8 `[height, width]`; 255 has no outline.
        tolerance: Pixels that an outline may be off, to have fewer points; 0 for the
            very edges of the pixels.

    Returns:
        A dict each, as in COCO's annotations: "id" from 1, "category_id" (the class
        number), "segmentation" (one polygon `[x, y, x, y, ...]` in pixels; pixel 0 goes
        from 0 to 1; a hole hangs on the outline by a line there and back), "bbox" (x,
        y, width, height), "area" (pixels of the region) and "iscrowd" (0).

    Source: https://cocodataset.org/#format-data.
    """
    found = []
    for number in np.unique(label):
        if number != IGNORE_LABEL:
            found += _of_class(label == number, int(number), tolerance)
    return [{"id": i, **region} for i, region in enumerate(found, 1)]


def _of_class(mask, number, tolerance):
    count, regions, stats, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=8
    )
    for i in range(1, count):
        left, top, width, height, area = stats[i].tolist()
        region = regions[top : top + height, left : left + width] == i
        points = _outline(region, tolerance) + np.array([left, top])
        yield {
            "category_id": number,
            "segmentation": [points.ravel().tolist()],
            "bbox": [left, top, width, height],
            "area": area,
            "iscrowd": 0,
        }


def _outline(region, tolerance):
    """Returns the corners of a region without a gap, its holes hung on to it."""
    # Of each pixel's four quarters those at an edge lead to the corner next to them.
    quarters = np.repeat(np.repeat(region.astype(np.uint8), 2, 0), 2, 1)
    found, _ = cv2.findContours(quarters, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    rings = [_simplified((ring[:, 0] + 1) // 2, tolerance) for ring in found]
    outer, *holes = sorted(rings, key=cv2.contourArea, reverse=True)
    for hole in holes:
        outer = _joined(outer, hole)
    return outer


def _simplified(ring, tolerance):
    """Leaves out points on straight lines, and those that are hardly off one."""
    ring = ring[(ring != np.roll(ring, 1, axis=0)).any(axis=1)]
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    corners = ring[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]]
    if tolerance and len(corners) > 4:
        points = corners[:, np.newaxis].astype(np.int32)
        fewer = cv2.approxPolyDP(points, tolerance, closed=True)[:, 0]
        corners = fewer if len(fewer) > 2 else corners
    return corners


def _joined(outer, hole):
    """Goes from the outline to a hole, around it, and back the same way."""
    distances = ((outer[:, np.newaxis] - hole) ** 2).sum(axis=-1)
    i, j = np.unravel_index(distances.argmin(), distances.shape)
    around = np.concatenate([hole[j:], hole[: j + 1]])
    return np.concatenate([outer[: i + 1], around, outer[i:]])
