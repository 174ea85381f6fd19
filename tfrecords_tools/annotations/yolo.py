"""YOLO's label files: one text file per image, one polygon per line.

A line is the class number and the corners, as fractions of the width and height of the
upright image: `class x y x y x y ...`.

Source: https://docs.ultralytics.com/datasets/segment/, "Ultralytics YOLO format".
"""

from collections.abc import Sequence

from tfrecords_tools.annotations import checking
from tfrecords_tools.annotations.shapes import Annotated, AnnotationError, Shape

_ROUNDING = 0.5  # Pixels by which rounded corners may lie outside of the image.
_BOX = 4  # Numbers of a box, after the class: center, width and height.


def read(
    text: str, names: Sequence[str], size: checking.Size, file_name: str, path: str
) -> Annotated:
    """Reads the shapes of one image; smaller ones are drawn over larger ones.

    Args:
        text: The file. An empty one says that the image shows no object.
        names: Class names in the order of their numbers.
        size: Height and width of the upright image in pixels.
        file_name: Path of the image.
        path: Path of the file, for error messages.
    """
    known = tuple(names)
    try:
        shapes = tuple(
            _shape(line.split(), known, size, f"line {number}")
            for number, line in enumerate(text.splitlines(), 1)
            if line.strip()
        )
    except AnnotationError as error:
        return faulty(str(error), names, file_name, path)
    return Annotated(
        file_name, path, *size, shapes, known, largest_first=True, one_file=True
    )


def faulty(reason: str, names: Sequence[str], file_name: str, path: str) -> Annotated:
    """Returns annotations that cannot be used, for the arguments of `read`."""
    return Annotated(
        file_name, path, 0, 0, (), tuple(names), one_file=True, fault=reason
    )


def _shape(parts, names, size, what):
    number = checking.whole(parts[0], f"the class of {what}", 0)
    if number >= len(names):
        raise AnnotationError(
            f"{what} has class {number}, but the names in the YAML file are those of "
            f"0 to {len(names) - 1}"
        )
    values = parts[1:]
    if len(values) == _BOX:
        return Shape(names[number], "bbox", item=what)
    if len(values) % 2:
        raise AnnotationError(
            f"{what} has {len(values)} coordinates, an odd number. A polygon has an x "
            "and a y for each corner; predictions that were saved with their "
            "confidence have one number more"
        )
    corners = [
        _pixel(value, size[1 - i % 2], f"{'xy'[i % 2]} of {what}")
        for i, value in enumerate(values)
    ]
    return Shape(names[number], "polygon", [corners], "coco", what)


def _pixel(text, length, what):
    """Returns a coordinate in pixels, cut at the edges of the image."""
    fraction = checking.real(text, what)
    pixel = fraction * length
    if not -_ROUNDING <= pixel <= length + _ROUNDING:
        hint = "; pixels must be divided by the size of the image" * (fraction > 2)
        raise AnnotationError(
            f"{what} is {fraction:g}, outside of the image: coordinates are fractions "
            f"of its width or height, from 0 to 1{hint}"
        )
    return round(min(max(pixel, 0.0), length), 6)
