"""Lists the pairs of ADE20K's scene parsing challenge, ADEChallengeData2016."""

from kerasseg import images
from tfrecords_tools.converters import listing, pairs, renumbering

_PARTS = {"train": "training", "val": "validation"}
_TABLE = renumbering.make_table(range(1, 151), 151)  # 0 is no class.


def list_pairs(split: str, source: pairs.Source) -> list[pairs.Pair]:
    """Pairs `images/<part>/<name>.jpg` with `annotations/<part>/<name>.png`.

    Raises:
        FileNotFoundError: A folder is missing.
        ValueError: There is no such split.
    """
    what = "ADE20K's folder, ADEChallengeData2016,"
    folder = pairs.needed(source.source_dir, "source_dir", what)
    part = listing.part_of("ade20k", split, _PARTS)
    image_dir, label_dir = (
        pairs.needed(folder / name / part, "source_dir", what)
        for name in ("images", "annotations")
    )
    return listing.pair_folders((image_dir, ".jpg"), (label_dir, ".png"))


def read_pair(pair: pairs.Pair) -> pairs.Contents:
    """Reads a pair; 1 to 150 become class numbers, 0 is ignored.

    Raises:
        ImageError: The label cannot be read or holds other numbers.
    """
    return renumbering.contents(pair, images.read_label(pair.label), _TABLE)
