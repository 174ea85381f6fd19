"""Lists the pairs of PASCAL VOC 2012, and of SBD for its split "trainaug"."""

import pathlib

import numpy as np

from kerasseg import images
from tfrecords_tools.converters import mat_files, pairs, source_files

_LISTS = "ImageSets/Segmentation"


def list_pairs(split: str, source: pairs.Source) -> list[pairs.Pair]:
    """Reads VOC's list of a split; "trainaug" adds SBD and excludes VOC's "val".

    An image that VOC has a label for keeps VOC's label.

    Raises:
        errors.MissingFileError: A folder or a list is missing.
    """
    voc = source_files.required_folder(
        source.source_dir, "source_dir", "PASCAL VOC's folder, VOCdevkit/VOC2012,"
    )
    if split != "trainaug":
        names = source_files.read_list(voc / _LISTS / f"{split}.txt")
        return [_voc_pair(voc, name) for name in names]
    sbd = source_files.required_folder(
        source.sbd_dir, "sbd_dir", "SBD's folder, benchmark_RELEASE/dataset,"
    )
    train = set(source_files.read_list(voc / _LISTS / "train.txt"))
    val = set(source_files.read_list(voc / _LISTS / "val.txt"))
    more = {
        *source_files.read_list(sbd / "train.txt"),
        *source_files.read_list(sbd / "val.txt"),
    }
    listed = [_voc_pair(voc, name) for name in train - val]
    return listed + [_sbd_pair(voc, sbd, name) for name in more - train - val]


def is_sbd(folder: pathlib.Path) -> bool:
    """Returns whether a folder in SBD's archive is the folder of SBD."""
    return (folder / "cls").is_dir() and (folder / "train.txt").is_file()


def _voc_pair(voc, name):
    image = voc / "JPEGImages" / f"{name}.jpg"
    label = voc / "SegmentationClass" / f"{name}.png"
    return pairs.Pair(name, str(image), str(label))


def _sbd_pair(voc, sbd, name):
    """SBD labels images of VOC, and has copies of them."""
    own = voc / "JPEGImages" / f"{name}.jpg"
    image = own if own.is_file() else sbd / "img" / f"{name}.jpg"
    return pairs.Pair(name, str(image), str(sbd / "cls" / f"{name}.mat"))


def read_pair(pair: pairs.Pair) -> pairs.Contents:
    """Reads the files of a pair; of SBD's .mat files, the class numbers.

    Raises:
        ImageError: A .mat file is not one of SBD's.
    """
    contents = pairs.read_files(pair)
    if pathlib.Path(pair.label).suffix != ".mat":
        return contents
    return pairs.Contents(contents.image, _read_mat(contents.label, pair.label))


def _read_mat(data, name):
    fields = ("Segmentation",)
    groundtruth = mat_files.read_variable(data, "GTcls", name, fields=fields)
    try:
        label = np.asarray(groundtruth[0]["Segmentation"])
    except (TypeError, LookupError) as error:
        raise images.ImageError(
            f"{name} is not a label of SBD, a .mat file with GTcls.Segmentation. "
            "Get the file again."
        ) from error
    if label.ndim != 2 or label.dtype != np.uint8:
        raise images.ImageError(
            f"{name}: GTcls.Segmentation is {label.dtype} {list(label.shape)}, "
            "expected uint8 [height, width]. Get the file again."
        )
    return np.ascontiguousarray(label)
