"""Lists the pairs of Cityscapes as its zip files unpack, with fine or coarse labels."""

from kerasseg import images
from tfrecords_tools.converters import listing, pairs, renumbering

_PARTS = {  # Split -> folders of pictures, each with the folder of its labels.
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
        FileNotFoundError: A folder is missing.
        ValueError: There is no such split.
    """
    folder = pairs.needed(source.source_dir, "source_dir", "Cityscapes' folder")
    found = []
    for part, kind in listing.part_of("cityscapes", split, _PARTS).items():
        image_dir, label_dir = (
            pairs.needed(folder / name / part, "source_dir", f"Cityscapes' {name}")
            for name in ("leftImg8bit", kind)
        )
        found += listing.pair_folders(
            (image_dir, "_leftImg8bit.png"), (label_dir, f"_{kind}_labelIds.png")
        )
    return found


def read_pair(pair: pairs.Pair) -> pairs.Contents:
    """Reads a pair; the label's ids become class numbers.

    Raises:
        ImageError: The label cannot be read or holds other numbers.
    """
    return renumbering.contents(pair, images.read_label(pair.label), _TABLE)
