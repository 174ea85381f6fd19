"""What a user says of own pictures: where they lie, their classes and their splits."""

import dataclasses

from tfrecords_tools.converters import class_lists


def _flag(default, text):
    return dataclasses.field(default=default, metadata={"help": text})


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnData:
    """Own pictures with masks or annotations; the flags that say so have these names.

    Attributes:
        classes: The classes; None: those that the annotations name.
        name_map: Class names in annotations with the numbers that they become.
    """

    images: str | None = _flag(
        None,
        "Own pictures: a folder, or a pattern in quotes. {split} in it stands for the "
        "name of a split. What its stars stand for is the picture's name.",
    )
    masks: str | None = _flag(
        None, "Their masks, likewise: the mask of a picture has its name."
    )
    annotations: str | None = _flag(
        None,
        "Instead of masks: COCO JSON, labelme JSON or CVAT XML, a file, folder or "
        "pattern.",
    )
    val_fraction: float = _flag(
        0.2,
        "Share of own pictures that become val, chosen by --seed; others: train.",
    )
    lists: str | None = _flag(
        None,
        "Files, with commas between, that list names of own pictures, one a line; "
        "train.txt lists the split train.",
    )
    leave_out: str | None = _flag(
        None, "File that lists own pictures to leave out: NAME or SPLIT:NAME a line."
    )
    skip_shapes: str = _flag(
        "",
        "Kinds of annotation to leave out since they have no area, with commas "
        "between, such as point,polyline.",
    )
    classes: class_lists.ClassList | None = None
    name_map: tuple[tuple[str, int], ...] = ()
