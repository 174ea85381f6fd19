"""CVAT XML for images, version 1.1: any number of images.

Coordinates are those of COCO: pixel 0 extends from 0 to 1.

Source: https://docs.cvat.ai/docs/manual/advanced/xml_format/, "Annotation".
"""

import math
from xml.etree import ElementTree

from tfrecords_tools.annotations import checking
from tfrecords_tools.annotations.shapes import Annotated, AnnotationError, Shape

_ELLIPSE_CORNERS = 72


def read(root: ElementTree.Element, path: str) -> tuple[Annotated, ...]:
    """Reads the shapes of all images; those with a higher z_order are in front.

    Args:
        root: The root element.
        path: Path of the file, for error messages.

    Raises:
        AnnotationError: These are not CVAT's annotations of images, or an image has no
            name.
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
    return tuple(_image(image, path, known) for image in images)


def _image(image, path, known):
    try:
        name = _attribute(image, "name", "an image")
    except AnnotationError as error:
        raise AnnotationError(
            f"{path} is damaged: {error}. Export it again as 'CVAT for images 1.1'."
        ) from error
    try:
        return Annotated(
            file_name=name,
            origin=path,
            height=checking.whole(image.get("height"), "its height"),
            width=checking.whole(image.get("width"), "its width"),
            shapes=tuple(_back_to_front(image)),
            known=known,
        )
    except AnnotationError as error:
        return Annotated(name, path, 0, 0, (), known, fault=str(error))


def _back_to_front(image):
    shapes = []
    for number, element in enumerate(image, 1):
        if element.tag in _READERS or (
            element.tag != "tag" and "label" in element.attrib
        ):
            what = f"shape {number}"
            order = checking.whole(
                element.get("z_order", 0), f"the z_order of {what}", None
            )
            shapes.append((order, _shape(element, what)))
    return [shape for _, shape in sorted(shapes, key=lambda pair: pair[0])]


def _attribute(element, key, what):
    value = element.get(key)
    if value is None:
        raise AnnotationError(f'{what} has no attribute "{key}"')
    return value


def _shape(element, what):
    reader = _READERS.get(element.tag)
    name = checking.class_name(_attribute(element, "label", what).strip(), what)
    if reader is None:
        return Shape(name, element.tag, item=what)

    def number(key):
        value = _attribute(element, key, f"{what}, a {element.tag},")
        return checking.real(value, f'the attribute "{key}" of {what}')

    drawer = "runs" if element.tag == "mask" else "coco"
    data = reader(element, number, what)
    group = checking.whole(element.get("group_id", 0), f"the group_id of {what}", 0)
    return Shape(name, element.tag, data, drawer, what, group or None)


def _read_polygon(element, _, what):
    texts = _attribute(element, "points", what).split(";")
    corners = [text.split(",") for text in texts if text.strip()]
    if any(len(corner) != 2 for corner in corners):
        raise AnnotationError(f"a point of {what} is not a pair of numbers")
    return [[checking.real(x, f"a point of {what}") for pair in corners for x in pair]]


def _read_box(element, number, _):
    left, top, right, bottom = map(number, ("xtl", "ytl", "xbr", "ybr"))
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    center = (left + right) / 2, (top + bottom) / 2
    return [_rotate(corners, center, element, number)]


def _read_ellipse(element, number, _):
    x, y, x_radius, y_radius = map(number, ("cx", "cy", "rx", "ry"))
    angles = [2 * math.pi * i / _ELLIPSE_CORNERS for i in range(_ELLIPSE_CORNERS)]
    corners = [(x + x_radius * math.cos(a), y + y_radius * math.sin(a)) for a in angles]
    return [_rotate(corners, (x, y), element, number)]


def _read_mask(element, _, what):
    keys = ("left", "top", "width", "height")
    box = [
        checking.whole(_attribute(element, key, what), f"the {key} of {what}", low)
        for key, low in zip(keys, (None, None, 0, 0), strict=True)
    ]
    rle = _attribute(element, "rle", what).split(",")
    return [box, [checking.whole(run, f"a run of {what}", 0) for run in rle]]


_READERS = {
    "polygon": _read_polygon,
    "box": _read_box,
    "ellipse": _read_ellipse,
    "mask": _read_mask,
}


def _rotate(corners, center, element, number):
    """Rotates corners clockwise by the degrees of the attribute `rotation`."""
    angle = math.radians(number("rotation")) if "rotation" in element.attrib else 0
    if not angle:
        return [coordinate for corner in corners for coordinate in corner]
    cosine, sine = math.cos(angle), math.sin(angle)
    offsets = [(x - center[0], y - center[1]) for x, y in corners]
    return [
        coordinate
        for x, y in offsets
        for coordinate in (
            center[0] + x * cosine - y * sine,
            center[1] + x * sine + y * cosine,
        )
    ]
