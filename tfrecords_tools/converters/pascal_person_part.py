"""Lists the pairs of PASCAL-Person-Part: pictures of VOC, labels of DeepLab's zip."""

import pathlib

from tfrecords_tools.converters import listing, pairs

_FOLDER = "pascal_person_part"
_PARTS = {"train": "train.txt", "val": "val.txt"}


def list_pairs(split: str, source: pairs.Source) -> list[pairs.Pair]:
    """Reads the list of a split: the paths of a picture and of its label a line.

    Raises:
        FileNotFoundError: A folder or a list is missing.
        ValueError: There is no such split.
    """
    what = "PASCAL VOC's folder, VOCdevkit/VOC2010,"
    voc = pairs.needed(source.source_dir, "source_dir", what)
    part = listing.part_of("pascal_person_part", split, _PARTS)
    lines = pairs.read_list(voc / _FOLDER / f"{_FOLDER}_trainval_list" / part)
    names = [pathlib.PurePosixPath(line.split()[0]).stem for line in lines]
    return [
        pairs.Pair(
            name,
            str(voc / "JPEGImages" / f"{name}.jpg"),
            str(voc / _FOLDER / f"{_FOLDER}_gt" / f"{name}.png"),
        )
        for name in names
    ]
