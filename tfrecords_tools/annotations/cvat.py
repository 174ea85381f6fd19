"""CVAT XML for images, version 1.1: any number of images.

Source: https://docs.cvat.ai/docs/manual/advanced/xml_format/, "Annotation".
"""

import math
from xml.etree import ElementTree

from tfrecords_tools.annotations.shapes import Annotated, AnnotationError, Shape

_ELLIPSE_CORNERS = 72


def read(root: ElementTree.Element, path: str) -> tuple[Annotated, ...]:
    """Reads the shapes of all images; those with a higher z_order are in front.

    Args:
        root: The root element.
        path: Path of the file, for error messages.

    Raises:
        AnnotationError: These are not CVAT's annotations of images.
        KeyError: An attribute is missing.
    """
    images = root.findall("image")
    if root.tag != "annotations" or not images:
        what = "tracks of a video" if root.findall("track") else "no images"
        raise AnnotationError(
            f"{path} holds {what}. Export it from CVAT as 'CVAT for images 1.1'."
        )
    known = tuple(
        (element.text or "").strip()
        for element in root.findall("meta//labels/label/name")
    )
    return tuple(
        Annotated(
            file_name=image.attrib["name"],
            origin=path,
            height=int(image.attrib["height"]),
            width=int(image.attrib["width"]),
            shapes=tuple(_shape(element) for element in _back_to_front(image)),
            known=known,
        )
        for image in images
    )


def _back_to_front(image):
    shapes = [element for element in image if "label" in element.attrib]
    shapes = [element for element in shapes if element.tag != "tag"]
    return sorted(shapes, key=lambda element: int(element.get("z_order", 0)))


def _shape(element):
    kind, values = element.tag, element.attrib
    name = values["label"]
    if kind == "polygon":
        points = [point.split(",") for point in values["points"].split(";")]
        return Shape(name, kind, [[float(x), float(y)] for x, y in points])
    if kind == "box":
        left, top, right, bottom = (
            float(values[key]) for key in ("xtl", "ytl", "xbr", "ybr")
        )
        corners = [[left, top], [right, top], [right, bottom], [left, bottom]]
        center = (left + right) / 2, (top + bottom) / 2
        return Shape(name, "polygon", _rotate(corners, center, values))
    if kind == "ellipse":
        x, y, x_radius, y_radius = (
            float(values[key]) for key in ("cx", "cy", "rx", "ry")
        )
        angles = [2 * math.pi * i / _ELLIPSE_CORNERS for i in range(_ELLIPSE_CORNERS)]
        corners = [
            [x + x_radius * math.cos(a), y + y_radius * math.sin(a)] for a in angles
        ]
        return Shape(name, "polygon", _rotate(corners, (x, y), values))
    if kind == "mask":
        box = [int(values[key]) for key in ("left", "top", "width", "height")]
        return Shape(
            name, "runs", [box, [int(run) for run in values["rle"].split(",")]]
        )
    return Shape(name, kind)


def _rotate(corners, center, values):
    """Rotates corners clockwise by the degrees of the attribute `rotation`."""
    angle = math.radians(float(values.get("rotation", 0)))
    if not angle:
        return corners
    cosine, sine = math.cos(angle), math.sin(angle)
    offsets = [(x - center[0], y - center[1]) for x, y in corners]
    return [
        [center[0] + x * cosine - y * sine, center[1] + x * sine + y * cosine]
        for x, y in offsets
    ]
