"""Detects the format of an annotation file and reads it."""

import functools
import importlib.util
import json
import os
from xml.etree import ElementTree

from kerasseg import errors
from kerasseg.system import files
from tfrecords_tools.annotations import (
    checking,
    coco,
    cvat,
    label_studio,
    labelme,
    panoptic,
)
from tfrecords_tools.annotations.shapes import Annotated, AnnotationError

SUFFIXES = (".json", ".xml")
_EXPECTED = (
    'COCO JSON ("images", "annotations", "categories"), labelme JSON ("shapes", '
    '"imagePath"), Label Studio JSON (tasks with "data" and "annotations") or CVAT XML '
    "for images"
)


def read(path: str) -> tuple[Annotated, ...]:
    """Reads an annotation file of any format. The result is cached.

    Raises:
        AnnotationError: The format is unknown, or the file is damaged.
        FileNotFoundError: There is no such file.
        errors.MissingPackageError: An extra is not installed.
        errors.UserError: It is not a regular file.
    """
    stat = os.stat(path)
    return _read(path, stat.st_mtime_ns, stat.st_size)


@functools.cache
def _read(path, *_):
    data = files.read_bytes(path)
    if path.lower().endswith(".xml"):
        root = _parse_xml(data, path)
        _require_pycocotools(path)
        return cvat.read(root, path)
    try:
        content = json.loads(data, object_pairs_hook=checking.unique_keys)
    except AnnotationError as error:
        raise AnnotationError(f"{path} is damaged: {error}. {_EXPORT_AGAIN}.") from (
            error
        )
    except (ValueError, RecursionError) as error:
        raise AnnotationError(
            f"{path} is damaged: it is not JSON ({error}). {_EXPORT_AGAIN}."
        ) from error
    if isinstance(content, dict) and "shapes" in content:
        return (_read_labelme(content, path),)
    if isinstance(content, dict) and {"images", "annotations"} <= content.keys():
        if panoptic.is_panoptic(content):
            return panoptic.read(content, path)
        _require_pycocotools(path)
        return coco.read(content, path)
    if label_studio.is_task(content):
        content = [content]
    if isinstance(content, list) and any(map(label_studio.is_task, content)):
        _require_pycocotools(path)
        return label_studio.read(content, path)
    raise AnnotationError(f"{path} has an unknown format. Expected {_EXPECTED}.")


_EXPORT_AGAIN = f"Export it again as {_EXPECTED}"


def _parse_xml(data, path):
    try:
        return ElementTree.fromstring(data)
    # An encoding that Python does not have is a LookupError, one of several bytes per
    # character a ValueError.
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise AnnotationError(
            f"{path} is not an XML file ({error}). {_EXPORT_AGAIN}."
        ) from error


def _read_labelme(content, path):
    try:
        return labelme.read(content, path)
    except AnnotationError as error:
        raise AnnotationError(f"{path} is damaged: {error}. {_EXPORT_AGAIN}.") from (
            error
        )


def _require_pycocotools(path):
    if importlib.util.find_spec("pycocotools") is None:
        raise errors.MissingPackageError(
            f"{path} has annotations that are drawn by pycocotools. It is not "
            "installed: pip install 'kerasseg[datasets]'."
        )
