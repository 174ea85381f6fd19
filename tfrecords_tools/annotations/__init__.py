"""Annotation files: COCO JSON, labelme JSON and CVAT XML.

`reading` detects the format of a file, `checking` checks what it says, and `drawing`
turns shapes into class numbers.
"""

from tfrecords_tools.annotations import checking
from tfrecords_tools.annotations.drawing import KINDS, draw
from tfrecords_tools.annotations.reading import SUFFIXES, read
from tfrecords_tools.annotations.shapes import (
    IGNORED,
    Annotated,
    AnnotationError,
    Shape,
)

__all__ = [
    "IGNORED",
    "KINDS",
    "SUFFIXES",
    "Annotated",
    "AnnotationError",
    "Shape",
    "checking",
    "draw",
    "read",
]
