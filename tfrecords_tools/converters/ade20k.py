"""Lists the pairs of ADE20K's scene parsing challenge, ADEChallengeData2016."""

from kerasseg import images
from tfrecords_tools.converters import pairs, renumbering, source_files

_PARTS = {"train": "training", "val": "validation"}
_TABLE = renumbering.make_table(range(1, 151), 151)  # 0 is unlabeled.


def list_pairs(split: str, source: pairs.Source) -> list[pairs.Pair]:
    """Pairs `images/<part>/<name>.jpg` with `annotations/<part>/<name>.png`.

    Raises:
        errors.MissingFileError: A folder is missing.
        errors.UserError: There is no such split.
    """
    what = "ADE20K's folder, ADEChallengeData2016,"
    folder = source_files.required_folder(source.source_dir, "source_dir", what)
    part = source_files.part_of("ade20k", split, _PARTS)
    image_dir, label_dir = (
        source_files.required_folder(folder / name / part, "source_dir", what)
        for name in ("images", "annotations")
    )
    return pairs.pair_folders((image_dir, ".jpg"), (label_dir, ".png"))


def read_pair(pair: pairs.Pair) -> pairs.Contents:
    """Reads a pair. Values 1 to 150 become class numbers, 0 is ignored.

    Raises:
        ImageError: The label cannot be read or holds other values.
    """
    return renumbering.contents(pair, images.read_label(pair.label), _TABLE)
