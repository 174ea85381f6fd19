"""Annotation files: COCO JSON, labelme JSON, Label Studio JSON and CVAT XML.

`reading` detects the format of a file, `checking` checks what it says, and `drawing`
turns shapes into class numbers.
"""

from tfrecords_tools.annotations import checking
from tfrecords_tools.annotations.drawing import KINDS, draw, draw_instances
from tfrecords_tools.annotations.reading import SUFFIXES, read
from tfrecords_tools.annotations.shapes import (
    IGNORED,
    Annotated,
    AnnotationError,
    Instance,
    Shape,
)

__all__ = [
    "IGNORED",
    "KINDS",
    "SUFFIXES",
    "Annotated",
    "AnnotationError",
    "Instance",
    "Shape",
    "checking",
    "draw",
    "draw_instances",
    "read",
]
