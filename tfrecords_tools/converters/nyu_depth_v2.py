"""Lists the pairs of NYU Depth V2's labeled images, which are in one HDF5 file."""

import functools

import numpy as np

from kerasseg import datasets, images
from kerasseg.system import files
from tfrecords_tools.converters import (
    hdf5_files,
    mat_files,
    pairs,
    renumbering,
    source_files,
)

_FILE, _SPLITS = "nyu_depth_v2_labeled.mat", "splits.mat"
_PARTS = {"train": "trainNdxs", "test": "testNdxs"}
_NUM_SOURCE_CLASSES = 894
# Of the 894 kinds: one for each class up to "bag", then two lists. All others are in
# the last class, "otherprop". Source: classMapping40.mat of Gupta et al. (2013).
NUMBERS = (
    *(21, 11, 3, 157, 5, 83, 19, 28, 59, 88, 64, 7, 80, 36, 42, 89, 169, 119, 122, 143),
    *(141, 4, 85, 17, 172, 15, 135, 123, 26, 45, 331, 158, 124, 24, 144, 136, 55),
)
OTHER_STRUCTURE = (
    *(8, 25, 33, 38, 51, 53, 57, 58, 62, 65, 79, 94, 104, 112, 134, 153, 215, 216, 223),
    *(225, 238, 241, 242, 256, 295, 301, 339, 342, 354, 363, 372, 380, 392, 408, 412),
    *(453, 456, 463, 477, 497, 541, 550, 553, 567, 573, 582, 591, 609, 612, 615, 642),
    *(645, 657, 658, 659, 663, 667, 668, 686, 700, 702, 777, 778, 782, 850, 861, 868),
    874,
)
OTHER_FURNITURE = (
    *(12, 43, 48, 50, 87, 106, 111, 161, 163, 174, 183, 204, 214, 219, 221, 224, 236),
    *(262, 278, 291, 298, 313, 343, 344, 356, 359, 373, 393, 401, 414, 418, 419, 430),
    *(443, 444, 447, 448, 457, 458, 460, 462, 475, 479, 485, 486, 493, 494, 498, 499),
    *(509, 510, 515, 521, 524, 540, 549, 551, 554, 556, 558, 576, 580, 608, 625, 703),
    *(734, 770, 772, 797, 800, 803, 804, 813, 814, 815, 820, 829, 835, 858, 863, 882),
    892,
)


def list_pairs(split: str, source: pairs.Source) -> list[pairs.Pair]:
    """Reads the numbers of the images of a split, from 1, in splits.mat.

    Raises:
        errors.MissingFileError: A file is missing.
        errors.UserError: There is no such split, or a file is damaged.
    """
    folder = source_files.required_folder(
        source.source_dir, "source_dir", "NYU Depth V2's folder"
    )
    variable = source_files.part_of("nyu_depth_v2", split, _PARTS)
    listed = source_files.required_file(
        folder / _SPLITS, "NYU Depth V2's list of splits"
    )
    numbers = mat_files.read_variable(files.read_bytes(listed), variable, str(listed))
    path = str(
        source_files.required_file(
            folder / _FILE, "NYU Depth V2's file of labeled images"
        )
    )
    return [
        pairs.Pair(f"{number:04d}", path, path)
        for number in np.asarray(numbers).astype(int).ravel().tolist()
    ]


def read_pair(pair: pairs.Pair) -> pairs.Contents:
    """Reads a pair. The image becomes a PNG.

    Raises:
        ImageError: The file is damaged, or is another file.
    """
    number = int(pair.name) - 1
    pixels = hdf5_files.read_part(pair.image, "images", number)  # RGB, width, height.
    label = hdf5_files.read_part(pair.label, "labels", number)  # Width, height.
    if pixels.ndim != 3 or len(pixels) != 3 or pixels.dtype != np.uint8:
        raise images.ImageError(
            f"{pair.image}, image {pair.name} is {pixels.dtype} "
            f"{list(pixels.shape)}, expected uint8 [3, width, height]. Get the file "
            "again."
        )
    image = images.encode_image(np.ascontiguousarray(pixels.transpose(2, 1, 0)))
    numbers = renumbering.renumber(label.T, _table(), f"{pair.label}, {pair.name}")
    return pairs.Contents(image, numbers)


@functools.cache
def _table():
    """Returns the class number of each kind; 0 is unlabeled."""
    last = datasets.get("nyu_depth_v2").num_classes - 1
    table = renumbering.make_table(NUMBERS, _NUM_SOURCE_CLASSES + 1, others=last)
    table[0] = datasets.IGNORE_LABEL
    table[list(OTHER_STRUCTURE)] = last - 2
    table[list(OTHER_FURNITURE)] = last - 1
    return table
