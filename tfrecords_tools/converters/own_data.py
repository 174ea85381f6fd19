"""The user's own images: where they are, their classes and their splits."""

import dataclasses
from typing import Any

from tfrecords_tools.converters import class_lists


def _option(default, text) -> Any:
    return dataclasses.field(default=default, metadata={"help": text})


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnData:
    """Own images with masks or annotations. Fields with a help text are flags.

    Attributes:
        classes: The classes; None for those that the annotations name.
        name_map: Class numbers of names in annotations that are not a class.
    """

    images: str | None = _option(
        None,
        "Own images: a folder, or a quoted pattern. {split} in it matches the name of "
        "a split. What the wildcards match is the name of an image.",
    )
    masks: str | None = _option(
        None,
        "Masks of the own images: a folder, or a quoted pattern. A mask has the name "
        "of its image.",
    )
    annotations: str | None = _option(
        None,
        "Annotations instead of masks: a file, folder or pattern of COCO JSON, labelme "
        "JSON or CVAT XML.",
    )
    val_fraction: float = _option(
        0.2,
        "Fraction of the own images that goes into the split val, chosen at random "
        "with --seed. The others go into train.",
    )
    lists: str | None = _option(
        None,
        "Comma-separated files that list the names of own images, one per line. "
        "train.txt lists the split train.",
    )
    leave_out: str | None = _option(
        None,
        "File that lists own images to leave out, one NAME or SPLIT:NAME per line.",
    )
    skip_shapes: str = _option(
        "",
        "Comma-separated kinds of annotations to skip because they have no area, "
        "such as point,polyline.",
    )
    classes: class_lists.ClassList | None = None
    name_map: tuple[tuple[str, int], ...] = ()
