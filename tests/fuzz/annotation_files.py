"""Hostile and odd files of COCO, labelme, Label Studio and CVAT, for 8 x 6 pixels."""

import base64
import json
from xml.etree import ElementTree

import numpy as np
from hypothesis import strategies

from kerasseg import images
from kerasseg.records import brush_rle
from tests.fuzz import values

HEIGHT, WIDTH = 6, 8
_SIZE = {"height": HEIGHT, "width": WIDTH}
_MASK = base64.b64encode(images.encode_label(np.eye(3, dtype=np.uint8))).decode()


def coco(name):
    """A valid file of COCO for one image."""
    runs = {"size": [HEIGHT, WIDTH], "counts": [7, 2, 39]}
    shapes = ([[1, 1, 7, 1, 7, 5]], runs, [[0, 0, 2, 0, 2, 2], [3, 3, 5, 3, 5, 5]])
    return {
        "images": [{"id": 1, "file_name": name, **_SIZE}],
        "categories": [{"id": 1, "name": "car"}, {"id": 2, "name": "road"}],
        "annotations": [
            {"id": i, "image_id": 1, "category_id": 1 + i % 2, "segmentation": shape}
            for i, shape in enumerate(shapes)
        ],
    }


def labelme(name):
    """A valid file of labelme."""
    shapes = {
        "polygon": [[1, 1], [6, 1], [6, 4]],
        "rectangle": [[1, 1], [3, 3]],
        "circle": [[4, 3], [5, 4]],
        "rotation": [[1, 1], [6, 1], [6, 4], [1, 4]],
        "mask": [[2, 2], [4, 4]],
    }
    listed = [
        {"label": "car", "shape_type": kind, "points": points}
        for kind, points in shapes.items()
    ]
    listed[-1]["mask"] = _MASK
    size = {"imageHeight": HEIGHT, "imageWidth": WIDTH}
    return {"shapes": listed, "imagePath": name, **size}


def label_studio(name):
    """A valid file of Label Studio for one image."""
    rle = list(brush_rle.encode(np.eye(HEIGHT, WIDTH, dtype=bool)))
    values = {
        "brushlabels": {"format": "rle", "rle": rle},
        "polygonlabels": {"points": [[0, 0], [50, 0], [50, 50]]},
    }
    result = [
        {
            "id": kind,
            "type": kind,
            "original_width": WIDTH,
            "original_height": HEIGHT,
            "image_rotation": 0,
            "value": {**value, kind: ["car"]},
        }
        for kind, value in values.items()
    ]
    annotations = [{"result": result, "was_cancelled": False}]
    data = {"image": f"/data/upload/1/0123abcd-{name}"}
    return [{"id": 1, "data": data, "annotations": annotations}]


def cvat(name):
    """A valid file of CVAT, as a list of elements: tag, attributes."""
    box = {"xtl": "1", "ytl": "1", "xbr": "6", "ybr": "4", "rotation": "20"}
    mask = {"rle": "2,3,1", "left": "4", "top": "1", "width": "3", "height": "2"}
    return [
        ["image", {"id": "0", "name": name, **{k: str(v) for k, v in _SIZE.items()}}],
        ["polygon", {"label": "car", "points": "1,1;6,1;6,4", "z_order": "1"}],
        ["box", {"label": "road", **box}],
        ["ellipse", {"label": "car", "cx": "3", "cy": "3", "rx": "2", "ry": "1"}],
        ["mask", {"label": "road", **mask}],
    ]


def _xml(elements):
    """Writes elements; values that XML cannot hold are left out."""
    root = ElementTree.Element("annotations")
    parent = root
    for item in elements if isinstance(elements, list) else []:
        if not (isinstance(item, list) and len(item) == 2 and item[0] in _TAGS):
            continue
        tag, attributes = item
        pairs = attributes.items() if isinstance(attributes, dict) else ()
        texts = {k: "".join(c for c in str(v) if c.isprintable()) for k, v in pairs}
        texts = {
            key: text.encode("utf-8", "replace").decode()
            for key, text in texts.items()
            if key.isidentifier() and key.isascii()
        }
        element = ElementTree.SubElement(root if tag == "image" else parent, tag, texts)
        parent = element if tag == "image" else parent
    return ElementTree.tostring(root)


_TAGS = ("image", "polygon", "box", "ellipse", "mask")


def _json(content):
    return json.dumps(content, default=str).encode()


@strategies.composite
def files(draw, name="a.png"):
    """Suffix and bytes of an annotation file of the image `name`."""
    make = draw(strategies.sampled_from((coco, labelme, cvat, label_studio)))
    content = draw(strategies.just(make(name)) | values.changed(make(name)))
    data = _xml(content) if make is cvat else _json(content)
    if draw(strategies.integers(0, 4)) == 0:
        data = draw(values.damaged(data))
    return ".xml" if make is cvat else ".json", data


@strategies.composite
def labelme_files(draw, name):
    """Bytes of a file of labelme, or of something else with its name."""
    content = labelme(name)
    data = _json(draw(strategies.just(content) | values.changed(content)))
    return data if draw(strategies.integers(0, 3)) else draw(values.damaged(data))
