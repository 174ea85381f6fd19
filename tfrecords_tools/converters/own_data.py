"""The user's own images: where they are, their classes and their splits."""

import dataclasses

from kerasseg.system.option_fields import option
from tfrecords_tools.converters import class_lists


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnData:
    """Own images with masks or annotations. Fields with a help text are flags.

    Attributes:
        classes: The classes; None for those that the annotations name.
        name_map: Class numbers of names in annotations that are not a class.
        ignore_exif: Whether images are stored without their EXIF rotation.
    """

    images: str | None = option(None, "Your own images, see `cli.IMAGES`.", shared=True)
    masks: str | None = option(
        None,
        "Masks of your images: a folder, or a quoted pattern, whose wildcards must "
        "match the name of the image.",
    )
    annotations: str | None = option(
        None,
        "Annotations to use instead of masks: a file, folder or quoted pattern of "
        "COCO JSON, labelme JSON, Label Studio JSON or CVAT XML files. Or the "
        "data.yaml of a YOLO data set with polygons, which also gives images and "
        "splits: omit --images.",
    )
    instance_masks: str | None = option(
        None,
        "With --instances and --masks: PNG files of the instance ids of your images, "
        "0 for no instance; a folder, or a quoted pattern, whose wildcards must match "
        "the name of the image. Or a folder with a binary PNG file of each object, as "
        "IMAGE/NAME.png or IMAGE/CLASS/NAME.png.",
    )
    val_fraction: float = option(
        0.2,
        "Fraction of your images that is assigned to the split val, chosen at random "
        "with --seed. The others are assigned to train.",
    )
    lists: str | None = option(
        None,
        "Comma-separated files that assign images to splits, such as "
        "train.txt,val.txt. Each lists the image names of the split with its file "
        "name, one per line.",
    )
    rename_splits: str = option(
        "",
        "Comma-separated FROM:TO to rename the splits that {split} gives, such as "
        "valid:val.",
    )
    leave_out: str | None = option(
        None,
        "File that lists images to leave out, one NAME or SPLIT:NAME per line.",
    )
    skip_shapes: str = option(
        "",
        "Comma-separated kinds of annotations to skip. Required for kinds without an "
        "area, such as point,polyline. degenerate: shapes that cover no part of the "
        "image, such as polygons with two corners.",
    )
    unannotated_as_background: bool = option(
        False,
        "With --annotations: build images without annotations, too. All their pixels "
        "belong to the class background, as they show no object.",
    )
    unlabeled: bool = option(
        False,
        "Build images without a mask or annotation, too, as records without a label; "
        "without --masks and --annotations, all images. They are assigned to train, "
        "unless {split} or --lists assigns them.",
    )
    multi_label: bool = option(
        False,
        "Build labels with several classes for each pixel, or none, for networks that "
        "are trained with --activation=sigmoid and one logit per class. --masks has a "
        "folder of binary masks for each class, CLASS/NAME.png; shapes of "
        "--annotations may overlap.",
    )
    classes: class_lists.ClassList | None = None
    name_map: tuple[tuple[str, int], ...] = ()
    ignore_exif: bool = False
