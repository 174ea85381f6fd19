"""Lists the pairs of SUN RGB-D: images of SUNRGBD.zip, labels of its toolbox."""

import pathlib

from kerasseg import errors
from kerasseg.system import files
from tfrecords_tools.converters import (
    hdf5_files,
    mat_files,
    pairs,
    renumbering,
    source_files,
)

_PARTS = {"train": "alltrain", "test": "alltest"}
_TABLE = renumbering.make_table(range(1, 38), 38)  # 0 is unlabeled.
_LABELS = "SUNRGBD2Dseg"


def list_pairs(split: str, source: pairs.Source) -> list[pairs.Pair]:
    """Reads allsplit.mat. An image is named by its number in SUNRGBDMeta.mat, from 1.

    Raises:
        errors.MissingFileError: A folder or a file is missing.
        errors.UserError: There is no such split, or a file is damaged.
    """
    what = "SUN RGB-D's folder, with SUNRGBD and SUNRGBDtoolbox,"
    folder = source_files.required_folder(source.source_dir, "source_dir", what)
    variable = source_files.part_of("sun_rgbd", split, _PARTS)
    toolbox = source_files.required_folder(
        folder / "SUNRGBDtoolbox", "source_dir", what
    )
    scenes = _read(toolbox / "traintestSUNRGBD" / "allsplit.mat", variable)
    in_split = {_below(scene) for scene in scenes}
    images = _read(toolbox / "Metadata" / "SUNRGBDMeta.mat", "SUNRGBDMeta")
    labels = source_files.required_file(toolbox / "Metadata" / f"{_LABELS}.mat", what)
    listed = []
    for number, image in enumerate(images, 1):
        path = _below(image["rgbpath"])  # <scene>/image/<name>.jpg
        if path.parent.parent in in_split:
            file = folder / "SUNRGBD" / path
            listed.append(pairs.Pair(f"{number:05d}", str(file), str(labels)))
    return listed


def _read(path, variable):
    """Reads the strings of a cell, or the structs with the strings "rgbpath"."""
    path = source_files.required_file(path, "SUN RGB-D's toolbox")
    values = mat_files.read_variable(
        files.read_bytes(path), variable, str(path), fields=("rgbpath",)
    )
    paths = [x.get("rgbpath") if isinstance(x, dict) else x for x in values or [None]]
    if not all(isinstance(each, str) for each in paths):
        raise errors.UserError(
            f"{path}: {variable} holds no paths. Get the file again."
        )
    return values


def _below(path):
    """Removes the folder of the authors' machine, /n/fs/sun3d/data/SUNRGBD."""
    parts = pathlib.PurePosixPath(path).parts
    start = len(parts) - parts[::-1].index("SUNRGBD") if "SUNRGBD" in parts else 0
    return pathlib.PurePosixPath(*parts[start:])


def read_pair(pair: pairs.Pair) -> pairs.Contents:
    """Reads a pair. Values 1 to 37 become class numbers, 0 is ignored.

    Raises:
        ImageError: The file of labels is damaged, or holds other values.
    """
    number = int(pair.name) - 1
    label = hdf5_files.read_part(pair.label, f"{_LABELS}/seglabel", number)
    numbers = renumbering.renumber(label.T, _TABLE, f"{pair.label}, {pair.name}")
    return pairs.Contents(files.read_bytes(pair.image), numbers)
