"""COCO JSON: polygons and run-length codes of any number of pictures.

Source: https://cocodataset.org/#format-data, "object detection".
"""

import collections

from tfrecords_tools.annotations.shapes import Annotated, AnnotationError, Shape

_POLYGON_NUMBERS = 6  # Three points; fewer have no area.


def read(facts: dict, path: str) -> tuple[Annotated, ...]:
    """Reads the shapes of all pictures; crowds are shapes like others.

    Raises:
        AnnotationError: An annotation is of a category or picture that is not listed.
        KeyError: A field is missing.
    """
    categories = sorted(facts["categories"], key=lambda item: item["id"])
    names = {item["id"]: item["name"] for item in categories}
    shapes = collections.defaultdict(list)
    for item in facts["annotations"]:
        if item["category_id"] not in names:
            raise AnnotationError(
                f"{path}: annotation {item.get('id')} is of category "
                f"{item['category_id']}, which is not listed. Export the file again"
            )
        name = names[item["category_id"]]
        shapes[item["image_id"]].append(_shape(name, item))
    unknown = shapes.keys() - {item["id"] for item in facts["images"]}
    if unknown:
        raise AnnotationError(
            f"{path} annotates {len(unknown)} pictures that it does not list, such as "
            f"number {min(unknown, key=str)}. Export the file again"
        )
    return tuple(
        Annotated(
            file_name=item["file_name"],
            origin=path,
            height=int(item["height"]),
            width=int(item["width"]),
            shapes=tuple(shapes[item["id"]]),
            known=tuple(names.values()),
            largest_first=True,
        )
        for item in facts["images"]
    )


def _shape(name, item):
    segmentation = item.get("segmentation")
    if isinstance(segmentation, dict):
        return Shape(name, "rle", segmentation)
    polygons = [each for each in segmentation or () if len(each) >= _POLYGON_NUMBERS]
    return Shape(name, "polygons", polygons) if polygons else Shape(name, "bbox", None)
