"""COCO JSON: polygons and run lengths of any number of pictures."""

from tfrecords_tools.annotations.shapes import (
    IGNORED,
    Annotated,
    AnnotationError,
    Shape,
)
from tfrecords_tools.converters import coco_masks


def read(path: str) -> tuple[Annotated, ...]:
    """Reads the shapes of all pictures; crowds are ignored.

    Raises:
        AnnotationError: An annotation is of a category that is not listed.
        ValueError: It is no annotation file of COCO's kind.
    """
    names, pictures = coco_masks.read_pictures(path)
    known = tuple(names[number] for number in sorted(names))
    return tuple(
        Annotated(
            file_name=picture.file_name,
            origin=path,
            height=picture.height,
            width=picture.width,
            shapes=tuple(_shape(item, names, path) for item in picture.annotations),
            known=known,
            largest_first=True,
        )
        for picture in pictures
    )


def _shape(item, names, path):
    number, segmentation = item.get("category_id"), item.get("segmentation")
    if number not in names:
        raise AnnotationError(
            f"{path}: annotation {item.get('id')} is of category {number}, which is "
            "not listed. Export the file again"
        )
    name = IGNORED if item.get("iscrowd") else names[number]
    return Shape(name, "coco", segmentation) if segmentation else Shape(name, "bbox")
