"""Finds the options for a folder as a labeling tool exports it.

Known are YOLO's data.yaml, and Roboflow's exports "COCO Segmentation" and "Semantic
Segmentation Masks": https://docs.roboflow.com/datasets/dataset-versions/exporting-data
"""

import dataclasses
import glob
import os
import pathlib

from kerasseg import errors
from tfrecords_tools.converters import matching, own_data, source_files, yolo

_COCO_FILE = "_annotations.coco.json"
_CLASSES_FILE = "_classes.csv"
_MASKS = "*_mask.png"
_RENAMED = "valid:val"  # Roboflow's name of the split.


@dataclasses.dataclass(frozen=True)
class Export:
    """Options that an export needs.

    Attributes:
        own: The user's options, with those that find the files of the export.
        classes: The option `classes`, or None.
    """

    own: own_data.OwnData
    classes: str | None


def expand(path: pathlib.Path, own: own_data.OwnData, classes: str | None) -> Export:
    """Returns the options with which an export is read.

    Args:
        path: The folder, or a data.yaml.
        own: The user's options, without `images`, `masks` and `annotations`.
        classes: The option `classes`, which takes precedence.

    Raises:
        errors.MissingFileError: There is no such folder, or no known file in it.
        errors.UserError: The splits of the export have different classes.
    """
    text = str(path)
    if path.is_file() and yolo.is_data_yaml(text):
        return Export(dataclasses.replace(own, annotations=text), classes)
    if (path / "data.yaml").is_file():
        text = str(path / "data.yaml")
        return Export(dataclasses.replace(own, annotations=text), classes)
    start = os.path.join(glob.escape(text), matching.SPLIT)
    own = dataclasses.replace(own, rename_splits=own.rename_splits or _RENAMED)
    if _files(path, _COCO_FILE):
        own = dataclasses.replace(
            own,
            images=os.path.join(start, "*"),
            annotations=os.path.join(start, _COCO_FILE),
        )
        return Export(own, classes)
    lists = _files(path, _CLASSES_FILE)
    if lists:
        _check_equal(lists)
        own = dataclasses.replace(
            own,
            images=os.path.join(start, "*.jpg"),
            masks=os.path.join(start, _MASKS),
        )
        return Export(own, classes or str(lists[0]))
    raise errors.MissingFileError(
        f"`source_dir={path}` holds no export that is known: no data.yaml of YOLO, and "
        f"no folders such as train with {_COCO_FILE} or {_CLASSES_FILE} of Roboflow. "
        "Give the folder above train, or give `images`, and `masks` or `annotations`."
    )


def _files(folder, name):
    """Returns the files of a name in the folders of the splits, sorted."""
    return sorted(path for path in folder.glob(f"*/{name}") if path.is_file())


def _check_equal(lists):
    first, *others = lists
    lines = source_files.read_lines(first)
    for path in others:
        if source_files.read_lines(path) != lines:
            raise errors.UserError(
                f"{first} and {path} list different classes. All splits must have the "
                "same: export the data set again, or give `classes`, `images` and "
                "`masks`."
            )


def has_no_files(own: own_data.OwnData) -> bool:
    """Returns whether no option gives own images, so that `source_dir` may."""
    return not (own.images or own.masks or own.annotations)


def is_known(path: pathlib.Path) -> bool:
    """Returns whether a folder holds an export that `expand` knows."""
    named = (_files(path, name) for name in (_COCO_FILE, _CLASSES_FILE))
    return (path / "data.yaml").is_file() or any(named)
