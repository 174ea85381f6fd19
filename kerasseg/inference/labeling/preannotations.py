"""Masks as files that labeling tools read, and `tfrecords_tools.build` reads back.

The masks are exact: `tfrecords_tools.build --annotations` draws the same pixels. Pixels
without a shape become the class "background", or are ignored if there is no such class,
so regions of "background" are not written, or else ignored pixels are not. Ignored
pixels are written as `IGNORED` if there is a background.
"""

import json
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from xml.etree import ElementTree

import cv2
import numpy as np

from kerasseg.datasets import IGNORE_LABEL
from kerasseg.inference import contours
from kerasseg.records import brush_rle
from kerasseg.system import names

IGNORED = "__ignore__"
_BACKGROUND = "background"
_IGNORED_COLOR = (128, 128, 128)

Masks = Mapping[str, np.ndarray]


def _names(class_names) -> dict[int, str]:
    """Returns the names to write, by class number."""
    found = {i: n for i, n in enumerate(class_names) if n != _BACKGROUND}
    if len(found) < len(class_names):
        found[IGNORE_LABEL] = IGNORED
    return found


def _colors(class_names, palette) -> dict[str, str]:
    """Returns the name and color of each class to write."""
    colors = {i: palette[i] for i in range(len(class_names))}
    colors[IGNORE_LABEL] = _IGNORED_COLOR
    return {
        name: "#" + bytes(int(x) for x in colors[number]).hex()
        for number, name in _names(class_names).items()
    }


def coco(masks: Masks, class_names: Sequence[str]) -> bytes:
    """Writes polygons along the edges of pixels as COCO JSON.

    Args:
        masks: Class numbers and 255, uint8 `[height, width]`, by the image's file name.
        class_names: Name of each class.

    Source: https://cocodataset.org/#format-data.
    """
    listed = _names(class_names)
    numbers = np.arange(256, dtype=np.uint8)
    if (
        IGNORE_LABEL in listed
    ):  # Contours leave out 255: it and background change roles.
        background = list(class_names).index(_BACKGROUND)
        numbers[[IGNORE_LABEL, background]] = background, IGNORE_LABEL
    images: list[dict] = []
    annotations: list[dict] = []
    for number, (name, mask) in enumerate(masks.items(), 1):
        height, width = mask.shape
        size = {"width": width, "height": height}
        images.append({"id": number, "file_name": name, **size})
        for region in contours.annotations(numbers[mask], tolerance=0):
            category = int(numbers[region["category_id"]]) + 1
            region |= {"id": len(annotations) + 1, "category_id": category}
            annotations.append({"image_id": number, **region})
    categories = [{"id": i + 1, "name": name} for i, name in listed.items()]
    content = {"images": images, "categories": categories, "annotations": annotations}
    return json.dumps(content).encode()


def cvat(masks: Masks, class_names: Sequence[str], palette: np.ndarray) -> bytes:
    """Writes a mask of each connected region as XML of "CVAT for images 1.1".

    Args:
        masks: As in `coco`.
        class_names: Name of each class.
        palette: RGB color of each class, uint8 `[num_classes, 3]`.

    Source: https://docs.cvat.ai/docs/manual/advanced/xml_format/.
    """
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    labels = ElementTree.SubElement(task, "labels")
    for name, color in _colors(class_names, palette).items():
        label = ElementTree.SubElement(labels, "label")
        ElementTree.SubElement(label, "name").text = name
        ElementTree.SubElement(label, "color").text = color
    listed = _names(class_names)
    for number, (name, mask) in enumerate(masks.items()):
        height, width = map(str, mask.shape)
        # XML has no control characters.
        about = {"id": str(number), "name": names.one_line(name)}
        image = ElementTree.SubElement(
            root, "image", {**about, "width": width, "height": height}
        )
        for value, box, region in _regions(mask):
            if value in listed:
                about = {"label": listed[value], "source": "auto", "occluded": "0"}
                place = dict(zip(("left", "top", "width", "height"), box, strict=True))
                rle = ", ".join(map(str, _runs(region)))
                attributes = {**about, **place, "rle": rle, "z_order": "0"}
                ElementTree.SubElement(image, "mask", attributes)
    return ElementTree.tostring(root, "utf-8", xml_declaration=True)


def _regions(mask) -> Iterator[tuple[int, list[str], np.ndarray]]:
    """Yields class number, left, top, width and height, and mask of each region."""
    for number in np.unique(mask).tolist():
        count, components, stats, _ = cv2.connectedComponentsWithStats(
            (mask == number).astype(np.uint8), connectivity=8
        )
        for i in range(1, count):
            left, top, width, height, _ = stats[i].tolist()
            region = components[top : top + height, left : left + width] == i
            yield number, [str(x) for x in (left, top, width, height)], region


def _runs(region):
    """Returns the lengths of runs of 0 and 1 in turn, row by row, 0 first."""
    flat = np.concatenate([[False], region.ravel()])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    return np.diff(np.concatenate([[0], changes, [region.size]])).tolist()


def label_studio(masks: Masks, class_names: Sequence[str]) -> bytes:
    """Writes a brush mask of each class as tasks of Label Studio, with predictions.

    The address of an image is that of a file in a local storage of Label Studio.

    Args:
        masks: As in `coco`.
        class_names: Name of each class.

    Source: https://labelstud.io/guide/predictions.
    """
    listed = _names(class_names)
    tasks = []
    for name, mask in masks.items():
        height, width = mask.shape
        size = {"original_width": width, "original_height": height}
        path = urllib.parse.quote(name, errors="surrogateescape")
        result = [
            {
                "id": f"class_{number}",
                "type": "brushlabels",
                "from_name": "label",
                "to_name": "image",
                **size,
                "image_rotation": 0,
                "value": {
                    "format": "rle",
                    "rle": list(brush_rle.encode(mask == number)),
                    "brushlabels": [listed[number]],
                },
            }
            for number in np.unique(mask).tolist()
            if number in listed
        ]
        address = f"/data/local-files/?d={path}"
        data = {"image": address, "width": width, "height": height}
        prediction = {"model_version": "kerasseg", "result": result}
        tasks.append({"data": data, "predictions": [prediction]})
    return json.dumps(tasks).encode()


def label_studio_config(class_names: Sequence[str], palette: np.ndarray) -> bytes:
    """Writes the labeling interface of a project that the tasks belong to.

    Args:
        class_names: Name of each class.
        palette: RGB color of each class, uint8 `[num_classes, 3]`.
    """
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Image", {"name": "image", "value": "$image"})
    brush = {"name": "label", "toName": "image"}
    for tag in ("BrushLabels", "PolygonLabels"):
        name = "label" if tag == "BrushLabels" else "polygon"
        labels = ElementTree.SubElement(view, tag, {**brush, "name": name})
        for label, color in _colors(class_names, palette).items():
            ElementTree.SubElement(
                labels, "Label", {"value": label, "background": color}
            )
    return ElementTree.tostring(view, "utf-8")
