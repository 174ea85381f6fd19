"""Detects the format of an annotation file and reads it.

Source of labelme's format: labelme/utils/shape.py and labelme/_label_file.py.
"""

import functools
import importlib.util
import json
import os
import pathlib
from xml.etree import ElementTree

from tfrecords_tools.annotations import coco, cvat
from tfrecords_tools.annotations.shapes import Annotated, AnnotationError, Shape

SUFFIXES = (".json", ".xml")
_EXPECTED = (
    'COCO JSON ("images", "annotations", "categories"), labelme JSON ("shapes", '
    '"imagePath") or CVAT XML for images'
)
_LABELME_KINDS = {"oriented_rectangle": "polygon", None: "polygon"}
_INVALID = (KeyError, TypeError, ValueError, AttributeError, IndexError)


def read(path: str) -> tuple[Annotated, ...]:
    """Reads an annotation file of any of the three formats. The result is cached.

    Raises:
        AnnotationError: The format is unknown, the file is damaged, or an extra is not
            installed.
        FileNotFoundError: There is no such file.
    """
    stat = os.stat(path)
    return _read(path, stat.st_mtime_ns, stat.st_size)


@functools.cache
def _read(path, *_):
    try:
        if path.lower().endswith(".xml"):
            return cvat.read(ElementTree.parse(path).getroot(), path)
        content = json.loads(pathlib.Path(path).read_bytes())
        if isinstance(content, dict) and "shapes" in content:
            return (_read_labelme(content, path),)
        if isinstance(content, dict) and {"images", "annotations"} <= content.keys():
            _require_pycocotools(path)
            return coco.read(path)
    except (AnnotationError, FileNotFoundError):
        raise
    except ElementTree.ParseError as error:
        raise AnnotationError(
            f"{path} is not an XML file ({error}). {_EXPORT_AGAIN}."
        ) from error
    except _INVALID as error:
        raise AnnotationError(f"{path} is damaged: {error!r}. {_EXPORT_AGAIN}.") from (
            error
        )
    raise AnnotationError(f"{path} has an unknown format. Expected {_EXPECTED}.")


_EXPORT_AGAIN = f"Export it again as {_EXPECTED}"


def _require_pycocotools(path):
    if importlib.util.find_spec("pycocotools") is None:
        raise AnnotationError(
            f"{path} has COCO annotations, which need pycocotools. It is not "
            "installed: pip install 'kerasseg[datasets]'."
        )


def _read_labelme(content, path):
    """Reads the shapes of one image; later shapes are drawn over earlier ones."""
    return Annotated(
        file_name=content["imagePath"],
        origin=path,
        height=int(content["imageHeight"]),
        width=int(content["imageWidth"]),
        shapes=tuple(_labelme_shape(item) for item in content["shapes"]),
        one_file=True,
    )


def _labelme_shape(item):
    kind = item.get("shape_type")
    kind, points = _LABELME_KINDS.get(kind, kind), item["points"]
    if not isinstance(item["label"], str):
        raise TypeError(f"the label {item['label']} is not a string")
    if kind == "mask":
        return Shape(item["label"], "picture", [points[0], item["mask"]])
    return Shape(item["label"], kind, points)
