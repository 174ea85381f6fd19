"""Lists the pairs of Cityscapes' unpacked zip files, with fine or coarse labels."""

from kerasseg import images
from tfrecords_tools.converters import pairs, renumbering, source_files

_PARTS = {  # Split -> folders of images, each with the folder of its labels.
    "train": {"train": "gtFine"},
    "val": {"val": "gtFine"},
    "trainval": {"train": "gtFine", "val": "gtFine"},
    "train_coarse": {"train": "gtCoarse", "train_extra": "gtCoarse"},
}
# The devkit's "ids" of the train ids 0, 1, ...: cityscapesscripts/helpers/labels.py.
IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
_TABLE = renumbering.make_table(IDS, 34)


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
        listed += pairs.pair_folders(
            (image_dir, "_leftImg8bit.png"), (label_dir, f"_{kind}_labelIds.png")
        )
    return listed


def read_pair(pair: pairs.Pair) -> pairs.Contents:
    """Reads a pair. The ids in its label become class numbers.

    Raises:
        ImageError: The label cannot be read or holds other ids.
    """
    return renumbering.contents(pair, images.read_label(pair.label), _TABLE)
