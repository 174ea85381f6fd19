"""The regions of a mask as polygons on a map, in GeoJSON."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kerasseg.images import geo
from kerasseg.inference import contours


def collection(
    mask: np.ndarray,
    class_names: Sequence[str],
    place: geo.Place | None,
    *,
    masks: np.ndarray | None = None,
) -> dict:
    """Returns a feature for every connected region of a class.

    Args:
        mask: Class numbers, uint8 `[height, width]`; regions of 255 are left out.
        class_names: Name of each class.
        place: Where the image lies; None for coordinates in pixels, x to the right and
            y down.
        masks: bool `[height, width, num_classes]`, used in place of `mask` where
            classes overlap; or None.

    Returns:
        A FeatureCollection. The properties of a feature are "class", "class_number" and
        "pixels", its area. "crs" names the coordinate system of the image, as GDAL
        reads and writes it; the standard itself (RFC 7946) knows only longitude and
        latitude, to which coordinates are not converted.
    """
    features: list[dict] = []
    for number, region in contours.of_classes(mask, masks):
        for rings, area in contours.regions(region):
            coordinates = [_closed(ring, place) for ring in rings]
            features.append(
                {
                    "type": "Feature",
                    "properties": {
                        "class": class_names[number],
                        "class_number": number,
                        "pixels": area,
                    },
                    "geometry": {"type": "Polygon", "coordinates": coordinates},
                }
            )
    content: dict[str, Any] = {"type": "FeatureCollection", "features": features}
    if place is not None and place.epsg is not None:
        name = f"urn:ogc:def:crs:EPSG::{place.epsg}"
        content["crs"] = {"type": "name", "properties": {"name": name}}
    return content


def _closed(ring, place):
    points = ring if place is None else geo.to_map(ring, place)
    points = points.tolist()
    return [*points, points[0]]
