"""Lists the pairs of Cityscapes' unpacked zip files, with fine or coarse labels."""

import dataclasses

import numpy as np

from kerasseg import images
from kerasseg.records import rle
from tfrecords_tools import annotations
from tfrecords_tools.converters import (
    instance_files,
    pairs,
    renumbering,
    source_files,
)

_PARTS = {  # Split -> folders of images, each with the folder of its labels.
    "train": {"train": "gtFine"},
    "val": {"val": "gtFine"},
    "trainval": {"train": "gtFine", "val": "gtFine"},
    "train_coarse": {"train": "gtCoarse", "train_extra": "gtCoarse"},
}
# The devkit's "ids" of the train ids 0, 1, ...: cityscapesscripts/helpers/labels.py.
IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
_TABLE = renumbering.make_table(IDS, 34)
_INSTANCE_IDS = (24, 25, 26, 27, 28, 31, 32, 33)
INSTANCE_CLASSES = (
    "person",
    "rider",
    "car",
    "truck",
    "bus",
    "train",
    "motorcycle",
    "bicycle",
)
_IGNORED_IDS = (29, 30)  # Caravans and trailers, which have instances, but no train id.


def list_pairs(split: str, source: pairs.Source) -> list[pairs.Pair]:
    """Pairs `leftImg8bit/<part>/<city>/<name>_leftImg8bit.png` with its label.

    Raises:
        errors.MissingFileError: A folder is missing.
        errors.UserError: There is no such split.
    """
    folder = source_files.required_folder(
        source.source_dir, "source_dir", "Cityscapes' folder"
    )
    listed = []
    for part, kind in source_files.part_of("cityscapes", split, _PARTS).items():
        image_dir, label_dir = (
            source_files.required_folder(
                folder / name / part, "source_dir", f"Cityscapes' {name}"
            )
            for name in ("leftImg8bit", kind)
        )
        found = pairs.pair_folders(
            (image_dir, "_leftImg8bit.png"), (label_dir, f"_{kind}_labelIds.png")
        )
        listed += [
            _with_instances(pair) if source.instances else pair for pair in found
        ]
    return listed


def _with_instances(pair):
    path = f"{pair.label.removesuffix('labelIds.png')}instanceIds.png"
    return dataclasses.replace(pair, instances=path)


def instance_format(source: pairs.Source) -> str:
    """Returns "objects": groups of objects are crowds, which a map cannot hold."""
    del source
    return "objects"


def read_pair(pair: pairs.Pair) -> pairs.Contents:
    """Reads a pair. The ids in its label become class numbers.

    Raises:
        ImageError: The label cannot be read or holds other ids.
    """
    contents = renumbering.contents(pair, images.read_label(pair.label), _TABLE)
    if not pair.instances:
        return contents
    ids = instance_files.read_ids(pair.instances)
    instance_files.check_size(ids, np.asarray(contents.label), pair)
    return dataclasses.replace(contents, objects=_read_objects(ids, pair.instances))


def _read_objects(ids, name):
    """Returns the objects of a map of instance ids.

    An object has 1000 times the id of its class plus a number. The id of the class
    itself is a group of objects, if the class has instances.
    """
    objects = []
    for number in np.unique(ids).tolist():
        is_group = number < 1000
        class_id = number if is_group else number // 1000
        if class_id not in (*_INSTANCE_IDS, *_IGNORED_IDS):
            if is_group:
                continue
            raise images.ImageError(
                f"{name} has the instance id {number}, but objects of class id "
                f"{class_id} have no instances in Cityscapes. Get the file again."
            )
        is_crowd = is_group or class_id in _IGNORED_IDS
        mask = rle.encode(ids == number)
        objects.append(annotations.Instance(mask, int(_TABLE[class_id]), is_crowd))
    return tuple(objects)
