"""labelme JSON: the shapes of one image.

Source: labelme/utils/shape.py and labelme/_label_file.py. Files of X-AnyLabeling, which
have the same format, may have rotated rectangles.
"""

from tfrecords_tools.annotations import checking
from tfrecords_tools.annotations.shapes import Annotated, AnnotationError, Shape

_DRAWERS = {
    **dict.fromkeys(("polygon", "oriented_rectangle", "rotation"), "polygon"),
    "quadrilateral": "polygon",
    "rectangle": "rectangle",
    "circle": "circle",
    "mask": "picture",
}


def read(content: dict, path: str) -> Annotated:
    """Reads the shapes of one image; later shapes are drawn over earlier ones.

    Args:
        content: The file.
        path: Its path, for error messages.

    Raises:
        AnnotationError: The name of the image is missing.
    """
    name = checking.field(content, "imagePath", str, path)
    try:
        listed = checking.field(content, "shapes", list, "it")
        return Annotated(
            file_name=name,
            origin=path,
            height=checking.whole(content.get("imageHeight"), '"imageHeight"'),
            width=checking.whole(content.get("imageWidth"), '"imageWidth"'),
            shapes=tuple(_shape(item, i) for i, item in enumerate(listed, 1)),
            one_file=True,
        )
    except AnnotationError as error:
        return Annotated(name, path, 0, 0, (), one_file=True, fault=str(error))


def _shape(item, number):
    what = f"shape {number}"
    name = checking.class_name(checking.field(item, "label", str, what), what)
    points = checking.field(item, "points", list, what)
    kind = item.get("shape_type") or "polygon"
    if not isinstance(kind, str):
        raise AnnotationError(f'{what} has a "shape_type" that is not text')
    data: list = points
    if kind == "mask":
        if not points:
            raise AnnotationError(f"{what} is a mask without a corner")
        data = [points[0], checking.field(item, "mask", str, what)]
    group = item.get("group_id")
    if group is not None:
        group = checking.whole(group, f"the group_id of {what}", None)
    return Shape(name, kind, data, _DRAWERS.get(kind, ""), what, group)
