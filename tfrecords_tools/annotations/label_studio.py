"""Label Studio JSON: brush masks and polygons of any number of images.

Polygons are in percent of the image's width and height, where pixel 0 extends from 0 to
1. Brush masks are `records.brush_rle`.

Source: https://labelstud.io/guide/export, "Label Studio JSON format".
"""

import base64
import re
import urllib.parse
from typing import Any

from kerasseg.system import names
from tfrecords_tools.annotations import checking
from tfrecords_tools.annotations.shapes import Annotated, AnnotationError, Shape

# Uploaded files get a random prefix.
_UPLOADED = re.compile(r"(?:^|/)data/upload/(?:\d+/)?(?:[0-9a-f]{8}-)?(?P<name>[^/]+)$")
_GEOMETRIES = ("brush", "ellipse", "keypoint", "polygon", "rectangle", "vector")


def is_task(content: Any) -> bool:
    """Returns whether JSON is a task of Label Studio, with its annotations."""
    return (
        isinstance(content, dict)
        and "data" in content
        and bool({"annotations", "predictions"} & content.keys())
    )


def read(tasks: list, path: str) -> tuple[Annotated, ...]:
    """Reads the shapes of all images; later shapes are drawn over earlier ones.

    Predictions are read from tasks that have no key "annotations", as in files for the
    import into Label Studio. Canceled annotations are skipped. A task without an
    annotation is left out, and so is an annotation without regions, unless "data" has
    the "width" and "height" of the image: the image counts as not annotated.

    Args:
        tasks: The tasks of the file.
        path: Its path, for error messages.

    Raises:
        AnnotationError: An item is not a task, or does not name one image.
    """
    try:
        found = [_task(task, path, i) for i, task in enumerate(tasks, 1)]
        return tuple(each for each in found if each is not None)
    except AnnotationError as error:
        raise AnnotationError(
            f"{path} is damaged: {error}. Export it from Label Studio as JSON."
        ) from error


def _task(task, path, number):
    given = task.get("id") if isinstance(task, dict) else None
    what = f"task {given}" if type(given) is int else f"task number {number}"
    data = checking.field(task, "data", dict, what)
    name = _image_name(data, what)
    try:
        results = _results(task, what)
        size = None if results is None else _size(results, data)
        if results is None or size is None:
            return None
        height, width = size
        return Annotated(name, path, height, width, tuple(_shapes(results, size)))
    except AnnotationError as error:
        return Annotated(name, path, 0, 0, (), fault=str(error))


def _image_name(data, what):
    """Returns the path of the image, from its address in Label Studio."""
    texts = {key: value for key, value in data.items() if isinstance(value, str)}
    if "image" in texts:
        texts = {"image": texts["image"]}
    if len(texts) != 1:
        raise AnnotationError(
            f'{what} has {len(texts)} texts in its "data", expected the address of the '
            f'image, as "image"'
        )
    (text,) = texts.values()
    try:
        url = urllib.parse.urlsplit(text)
    except ValueError:
        url = urllib.parse.SplitResult("", "", text, "", "")
    local = urllib.parse.parse_qs(url.query, errors="surrogateescape").get("d", [])
    if url.path.endswith("/data/local-files/") and local:
        return local[0]
    uploaded = _UPLOADED.search(url.path)
    is_address = bool(url.scheme and url.netloc) or url.path.startswith("/data/")
    name = uploaded["name"] if uploaded else url.path if is_address else text
    return urllib.parse.unquote(name) if is_address else name


def _results(task, what):
    """Returns the regions of the only annotation or prediction; None without one."""
    key = "annotations" if "annotations" in task else "predictions"
    listed = checking.field(task, key, list, what)
    listed = [
        item
        for item in listed
        if not (isinstance(item, dict) and item.get("was_cancelled"))
    ]
    if len(listed) > 1:
        raise AnnotationError(
            f"{what} has {len(listed)} {key}, expected one. Delete the others"
        )
    if not listed:
        return None
    return checking.field(listed[0], "result", list, f"the annotation of {what}")


def _size(results, data):
    """Returns the height and width that all regions state; None if nothing does."""
    sizes: set = set()
    for i, item in enumerate(results, 1):
        if isinstance(item, dict) and "original_width" in item:
            keys = ("original_height", "original_width")
            what = f"of region {_identifier(item, i)}"
            sizes.add(tuple(checking.whole(item.get(k), f"{k} {what}") for k in keys))
    if not sizes and {"width", "height"} <= data.keys():
        keys = ("height", "width")
        sizes.add(tuple(checking.whole(data[k], f"the {k} of its data") for k in keys))
    if len(sizes) > 1:
        texts = " and ".join(f"{width} x {height}" for height, width in sorted(sizes))
        raise AnnotationError(f"its regions are for images of {texts} pixels")
    if not sizes and any(True for _ in _shapes(results, (1, 1))):
        raise AnnotationError('its regions have no "original_width"')
    return sizes.pop() if sizes else None


def _identifier(item, number):
    given = item.get("id")
    return names.one_line(given)[:40] if isinstance(given, str) else f"number {number}"


def _shapes(results, size):
    """Yields the shapes; what describes the image as a whole is left out."""
    labeled = {
        item["id"]
        for item in results
        if isinstance(item, dict)
        and isinstance(item.get("id"), str)
        and str(item.get("type")).endswith("labels")
    }
    for number, item in enumerate(results, 1):
        kind = checking.field(item, "type", str, f"region number {number}")
        what = f"region {_identifier(item, number)}"
        if kind.endswith("labels"):
            yield _shape(item, kind, what, size)
        elif kind in _GEOMETRIES and item.get("id") not in labeled:
            raise AnnotationError(f"{what}, a {kind}, has no label")


def _shape(item, kind, what, size):
    value = checking.field(item, "value", dict, what)
    labels = checking.field(value, kind, list, what)
    if len(labels) != 1 or not isinstance(labels[0], str):
        raise AnnotationError(f"{what} has {len(labels)} labels, expected one")
    name = checking.class_name(labels[0].strip(), what)
    if checking.real(item.get("image_rotation", 0), f"the image_rotation of {what}"):
        raise AnnotationError(
            f"{what} was drawn on a rotated image. Rotate it back in Label Studio"
        )
    if "rle" in value:
        return Shape(name, kind, _brush(value["rle"], what), "brush", what)
    if "points" in value and kind in ("polygonlabels", "labels"):
        return Shape(name, kind, [_polygon(value["points"], size, what)], "coco", what)
    return Shape(name, kind, item=what)


def _brush(values, what):
    """Returns the bytes in base64, which a pair stores as text."""
    if not isinstance(values, list) or not all(type(x) is int for x in values):
        raise AnnotationError(f'the "rle" of {what} is not a list of bytes')
    try:
        return base64.b64encode(bytes(values)).decode()
    except ValueError as error:
        raise AnnotationError(
            f'the "rle" of {what} has numbers that are no bytes, from 0 to 255'
        ) from error


def _polygon(points, size, what):
    """Returns the corners in pixels, x, y, x, y, ..."""
    if not isinstance(points, list):
        raise AnnotationError(f'the "points" of {what} are not a list')
    corners = []
    for pair in points:
        if not isinstance(pair, list) or len(pair) != 2:
            raise AnnotationError(f"a point of {what} is not a pair of numbers")
        for percent, length in zip(pair, size[::-1], strict=True):
            part = checking.real(percent, f"a coordinate of {what}") / 100
            # Ends of pixels are stored as rounded percent.
            corners.append(round(part * length, 6))
    return corners
