"""labelme JSON: one file a picture.

Source: labelme's labelme/utils/shape.py and labelme/_label_file.py.
"""

from tfrecords_tools.annotations.shapes import Annotated, Shape

_KINDS = {"oriented_rectangle": "polygon", None: "polygon"}


def read(facts: dict, path: str) -> Annotated:
    """Reads the shapes of one picture; later ones lie on earlier ones.

    Raises:
        KeyError: A field is missing.
    """
    return Annotated(
        file_name=facts["imagePath"],
        origin=path,
        height=int(facts["imageHeight"]),
        width=int(facts["imageWidth"]),
        shapes=tuple(_shape(item) for item in facts["shapes"]),
        one_file=True,
    )


def _shape(item):
    kind = item.get("shape_type")
    kind, points = _KINDS.get(kind, kind), item["points"]
    if not isinstance(item["label"], str):
        raise TypeError(f"the label {item['label']} is no text")
    if kind == "mask":
        return Shape(item["label"], "picture", [points[0], item["mask"]])
    return Shape(item["label"], kind, points)
