"""Lists the pairs of SUN RGB-D: pictures of SUNRGBD.zip, labels of its toolbox."""

import pathlib

from kerasseg import errors
from tfrecords_tools.converters import (
    hdf5_files,
    listing,
    mat_files,
    pairs,
    renumbering,
)

_PARTS = {"train": "alltrain", "test": "alltest"}
_TABLE = renumbering.make_table(range(1, 38), 38)  # 0 is no class.
_LABELS = "SUNRGBD2Dseg"


def list_pairs(split: str, source: pairs.Source) -> list[pairs.Pair]:
    """Reads allsplit.mat; a picture's name is its number, from 1, in SUNRGBDMeta.mat.

    Raises:
        FileNotFoundError: A folder or a file is missing.
        ValueError: There is no such split, or a file is damaged.
    """
    what = "SUN RGB-D's folder, with SUNRGBD and SUNRGBDtoolbox,"
    folder = pairs.needed(source.source_dir, "source_dir", what)
    variable = listing.part_of("sun_rgbd", split, _PARTS)
    toolbox = pairs.needed(folder / "SUNRGBDtoolbox", "source_dir", what)
    scenes = _read(toolbox / "traintestSUNRGBD" / "allsplit.mat", variable)
    wanted = {_below(scene) for scene in scenes}
    pictures = _read(toolbox / "Metadata" / "SUNRGBDMeta.mat", "SUNRGBDMeta")
    labels = listing.needed_file(toolbox / "Metadata" / f"{_LABELS}.mat", what)
    found = []
    for number, picture in enumerate(pictures, 1):
        path = _below(picture["rgbpath"])  # <scene>/image/<name>.jpg
        if path.parent.parent in wanted:
            image = folder / "SUNRGBD" / path
            found.append(pairs.Pair(f"{number:05d}", str(image), str(labels)))
    return found


def _read(path, variable):
    """Reads the texts of a cell, or the texts of a struct's "rgbpath"."""
    path = listing.needed_file(path, "SUN RGB-D's toolbox")
    found = mat_files.read_variable(
        path.read_bytes(), variable, str(path), fields=("rgbpath",)
    )
    texts = [x.get("rgbpath") if isinstance(x, dict) else x for x in found or [None]]
    if not all(isinstance(text, str) for text in texts):
        raise errors.UserError(f"{path}: {variable} holds no paths. Get the file again")
    return found


def _below(path):
    """Leaves out the folder of the authors' machine, /n/fs/sun3d/data/SUNRGBD."""
    parts = pathlib.PurePosixPath(path).parts
    start = len(parts) - parts[::-1].index("SUNRGBD") if "SUNRGBD" in parts else 0
    return pathlib.PurePosixPath(*parts[start:])


def read_pair(pair: pairs.Pair) -> pairs.Contents:
    """Reads a pair; 1 to 37 become class numbers, 0 is ignored.

    Raises:
        ImageError: The file of labels is damaged, or holds other numbers.
    """
    number = int(pair.name) - 1
    label = hdf5_files.read_part(pair.label, f"{_LABELS}/seglabel", number)
    numbers = renumbering.renumber(label.T, _TABLE, f"{pair.label}, {pair.name}")
    return pairs.Contents(pathlib.Path(pair.image).read_bytes(), numbers)
