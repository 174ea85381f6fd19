"""Lists the pairs of PASCAL-Context: images and lists of VOC 2010, labels as .mat."""

import numpy as np

from kerasseg.system import files
from tfrecords_tools.converters import mat_files, pairs, renumbering, source_files

# Numbers of the 59 classes among the 459 in the authors' labels.txt.
NUMBERS = (
    *(2, 23, 25, 31, 34, 45, 59, 65, 72, 98, 397, 113, 207, 258, 284, 308, 347, 368),
    *(416, 427, 9, 18, 22, 33, 44, 46, 68, 80, 85, 104, 115, 144, 158, 159, 162, 187),
    *(189, 220, 232, 259, 260, 105, 296, 355, 295, 324, 326, 349, 354, 360, 366, 19),
    *(415, 420, 424, 440, 445, 454, 458),
)
NUM_SOURCE_CLASSES = 459
_TABLE = renumbering.make_table(NUMBERS, NUM_SOURCE_CLASSES + 1)


def list_pairs(split: str, source: pairs.Source) -> list[pairs.Pair]:
    """Reads VOC 2010's list `ImageSets/Main/<split>.txt`, whose images have labels.

    Raises:
        errors.MissingFileError: A folder or a list is missing.
    """
    what = "PASCAL VOC's folder, VOCdevkit/VOC2010,"
    voc = source_files.required_folder(source.source_dir, "source_dir", what)
    names = source_files.read_list(voc / "ImageSets" / "Main" / f"{split}.txt")
    labels = source_files.required_folder(
        voc / "trainval",
        "source_dir",
        "PASCAL-Context's folder trainval, unpacked in PASCAL VOC's,",
    )
    return [
        pairs.Pair(
            name, str(voc / "JPEGImages" / f"{name}.jpg"), str(labels / f"{name}.mat")
        )
        for name in names
    ]


def read_pair(pair: pairs.Pair) -> pairs.Contents:
    """Reads a pair. Other pixels than those of the 59 classes are ignored.

    Raises:
        ImageError: The label cannot be read or holds other values.
    """
    return read_as(pair, _TABLE)


def read_as(pair: pairs.Pair, table: np.ndarray) -> pairs.Contents:
    """Reads a pair, and maps the values of its label by a table.

    Args:
        pair: The pair.
        table: From `renumbering.make_table`.

    Raises:
        ImageError: The label cannot be read or holds other values.
    """
    data = files.read_bytes(pair.label)
    numbers = mat_files.read_variable(data, "LabelMap", pair.label)
    return renumbering.contents(pair, np.asarray(numbers), table)
