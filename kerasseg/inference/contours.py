"""Contours of the regions of a mask, as polygons in COCO's format."""

from collections.abc import Iterator

import cv2
import numpy as np

from kerasseg.datasets import IGNORE_LABEL


def annotations(
    mask: np.ndarray, *, tolerance: float = 1.0, masks: np.ndarray | None = None
) -> list[dict]:
    """Returns an annotation for every connected region of a class.

    Args:
        mask: Class numbers, uint8 `[height, width]`; regions of 255 are left out.
        tolerance: Maximum distance in pixels between the polygon and the region's
            border; 0 follows the edges of the pixels exactly.
        masks: bool `[height, width, num_classes]`, used in place of `mask` where
            classes overlap; or None.

    Returns:
        Dicts as in COCO's annotations: "id" from 1, "category_id" (the class number),
        "segmentation" (one polygon `[x, y, x, y, ...]` in pixels; pixel 0 extends from
        0 to 1; a hole is connected to the outer contour by a line in both directions),
        "bbox" (x, y, width, height), "area" (in pixels) and "iscrowd" (0).

    Source: https://cocodataset.org/#format-data.
    """
    found = []
    for number, region in of_classes(mask, masks):
        found += _annotations(region, number, tolerance)
    return [{"id": i, **region} for i, region in enumerate(found, 1)]


def of_classes(
    mask: np.ndarray, masks: np.ndarray | None
) -> Iterator[tuple[int, np.ndarray]]:
    """Yields the number of each class, and where it is; see `annotations`."""
    if masks is not None:
        yield from enumerate(np.moveaxis(masks, -1, 0))
        return
    for number in np.unique(mask).tolist():
        if number != IGNORE_LABEL:
            yield number, mask == number


def polygons(mask: np.ndarray, *, tolerance: float = 1.0) -> list[list[np.ndarray]]:
    """Returns a polygon for every connected region of a mask.

    Args:
        mask: bool `[height, width]`.
        tolerance: See `annotations`.

    Returns:
        Polygons, each a list of rings: the outline, and one for each hole. A ring is
        int64 `[points, 2]`, x and y in pixels; pixel 0 extends from 0 to 1.
    """
    return [rings for rings, *_ in _components(mask, tolerance)]


def regions(
    mask: np.ndarray, *, tolerance: float = 1.0
) -> list[tuple[list[np.ndarray], int]]:
    """Returns the rings of each connected region, see `polygons`, and its pixels."""
    return [(rings, area) for rings, _, area in _components(mask, tolerance)]


def _annotations(mask, number, tolerance):
    for (outer, *holes), box, area in _components(mask, tolerance):
        for hole in holes:
            outer = _joined(outer, hole)
        yield {
            "category_id": number,
            "segmentation": [outer.ravel().tolist()],
            "bbox": box,
            "area": area,
            "iscrowd": 0,
        }


def _components(mask, tolerance):
    """Yields rings, box and number of pixels of each connected region."""
    count, components, stats, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=8
    )
    for i in range(1, count):
        left, top, width, height, area = stats[i].tolist()
        region = components[top : top + height, left : left + width] == i
        rings = [ring + np.array([left, top]) for ring in _rings(region, tolerance)]
        yield rings, [left, top, width, height], area


def _rings(region, tolerance):
    """Returns the corners of a connected region: its outline, then its holes."""
    # Each pixel is split into quarters, whose contour rounds to the pixels' corners.
    quarters = np.repeat(np.repeat(region.astype(np.uint8), 2, 0), 2, 1)
    rings, _ = cv2.findContours(quarters, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    rings = [_simplified((ring[:, 0] + 1) // 2, tolerance) for ring in rings]
    return sorted(rings, key=cv2.contourArea, reverse=True)


def _simplified(ring, tolerance):
    """Drops points that lie on a straight line, within the tolerance."""
    ring = ring[(ring != np.roll(ring, 1, axis=0)).any(axis=1)]
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    corners = ring[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]]
    if tolerance and len(corners) > 4:
        points = corners[:, np.newaxis].astype(np.int32)
        fewer = cv2.approxPolyDP(points, tolerance, closed=True)[:, 0]
        corners = fewer if len(fewer) > 2 else corners
    return corners


def _joined(outer, hole):
    """Joins a hole to the outer ring by a line in both directions."""
    distances = ((outer[:, np.newaxis] - hole) ** 2).sum(axis=-1)
    i, j = np.unravel_index(distances.argmin(), distances.shape)
    around = np.concatenate([hole[j:], hole[: j + 1]])
    return np.concatenate([outer[: i + 1], around, outer[i:]])
