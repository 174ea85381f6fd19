"""Lists the pairs of PASCAL-Person-Part: images of VOC, labels of DeepLab's zip."""

import pathlib

from tfrecords_tools.converters import pairs, source_files

_FOLDER = "pascal_person_part"
_PARTS = {"train": "train.txt", "val": "val.txt"}


def list_pairs(split: str, source: pairs.Source) -> list[pairs.Pair]:
    """Reads the list of a split: the paths of an image and its label per line.

    Raises:
        errors.MissingFileError: A folder or a list is missing.
        errors.UserError: There is no such split.
    """
    what = "PASCAL VOC's folder, VOCdevkit/VOC2010,"
    voc = source_files.required_folder(source.source_dir, "source_dir", what)
    part = source_files.part_of("pascal_person_part", split, _PARTS)
    lines = source_files.read_list(voc / _FOLDER / f"{_FOLDER}_trainval_list" / part)
    names = [pathlib.PurePosixPath(line.split()[0]).stem for line in lines]
    return [
        pairs.Pair(
            name,
            str(voc / "JPEGImages" / f"{name}.jpg"),
            str(voc / _FOLDER / f"{_FOLDER}_gt" / f"{name}.png"),
        )
        for name in names
    ]
