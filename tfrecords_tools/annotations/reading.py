"""Tells the formats of annotations apart, and reads them."""

import functools
import importlib.util
import json
import os
import pathlib
from xml.etree import ElementTree

from tfrecords_tools.annotations import coco, cvat, labelme
from tfrecords_tools.annotations.shapes import Annotated, AnnotationError

_WANTED = (
    'COCO JSON ("images", "annotations", "categories"), labelme JSON ("shapes", '
    '"imagePath") or CVAT XML for images'
)
_BROKEN = (KeyError, TypeError, ValueError, AttributeError, IndexError)


def read(path: str) -> tuple[Annotated, ...]:
    """Reads a file of annotations of any of the three formats, once.

    Raises:
        AnnotationError: It is of another format, damaged, or needs an extra.
    """
    stat = os.stat(path)
    return _read(path, stat.st_mtime_ns, stat.st_size)


@functools.cache
def _read(path, *_):
    try:
        if path.lower().endswith(".xml"):
            return cvat.read(ElementTree.parse(path).getroot(), path)
        facts = json.loads(pathlib.Path(path).read_bytes())
        if isinstance(facts, dict) and "shapes" in facts:
            return (labelme.read(facts, path),)
        if isinstance(facts, dict) and {"images", "annotations"} <= facts.keys():
            _need_pycocotools(path)
            return coco.read(path)
    except (AnnotationError, FileNotFoundError):
        raise
    except ElementTree.ParseError as error:
        raise AnnotationError(f"{path} is no XML ({error}). {_AGAIN}") from error
    except _BROKEN as error:
        raise AnnotationError(f"{path} is damaged: {error!r}. {_AGAIN}") from error
    raise AnnotationError(f"{path} is of no known format. Wanted is {_WANTED}")


_AGAIN = f"Export it again as {_WANTED}"


def _need_pycocotools(path):
    if importlib.util.find_spec("pycocotools") is None:
        raise AnnotationError(
            f"{path} has COCO's annotations, which need pycocotools and it is not "
            "installed: pip install kerasseg[datasets]"
        )
