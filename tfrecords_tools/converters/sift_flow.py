"""Lists the pairs of SIFT Flow's SiftFlowDataset.zip, with its semantic labels."""

import pathlib

import numpy as np

from kerasseg.system import files
from tfrecords_tools.converters import mat_files, pairs, renumbering, source_files

_FOLDER = "spatial_envelope_256x256_static_8outdoorcategories"
_IS_TEST = {"train": False, "test": True}
_TABLE = renumbering.make_table(range(1, 34), 34)  # 0 is unlabeled.


def list_pairs(split: str, source: pairs.Source) -> list[pairs.Pair]:
    """Reads TestSet1.txt; "train" has the images that it does not list.

    Raises:
        errors.MissingFileError: A folder or the list is missing.
        errors.UserError: There is no such split.
    """
    what = "SIFT Flow's folder, SiftFlowDataset,"
    folder = source_files.required_folder(source.source_dir, "source_dir", what)
    is_test = source_files.part_of("sift_flow", split, _IS_TEST)
    lines = source_files.read_list(folder / "TestSet1.txt")
    listed = {pathlib.PureWindowsPath(line).stem for line in lines}
    image_dir, label_dir = (
        source_files.required_folder(folder / name / _FOLDER, "source_dir", what)
        for name in ("Images", "SemanticLabels")
    )
    all_pairs = pairs.pair_folders((image_dir, ".jpg"), (label_dir, ".mat"))
    return [pair for pair in all_pairs if (pair.name in listed) == is_test]


def read_pair(pair: pairs.Pair) -> pairs.Contents:
    """Reads a pair. Values 1 to 33 become class numbers, 0 is ignored.

    Raises:
        ImageError: The label cannot be read or holds other values.
    """
    data = files.read_bytes(pair.label)
    numbers = mat_files.read_variable(data, "S", pair.label)
    return renumbering.contents(pair, np.asarray(numbers), _TABLE)
