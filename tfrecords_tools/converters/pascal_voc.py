"""Lists the pairs of PASCAL VOC 2012, and of SBD for its split "trainaug"."""

import pathlib

import numpy as np

from kerasseg import datasets, images
from kerasseg.system import files
from tfrecords_tools.converters import instance_files, mat_files, pairs, source_files

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
        return [_voc_pair(voc, name, source.instances) for name in names]
    sbd = source_files.required_folder(
        source.sbd_dir, "sbd_dir", "SBD's folder, benchmark_RELEASE/dataset,"
    )
    train = set(source_files.read_list(voc / _LISTS / "train.txt"))
    val = set(source_files.read_list(voc / _LISTS / "val.txt"))
    more = {
        *source_files.read_list(sbd / "train.txt"),
        *source_files.read_list(sbd / "val.txt"),
    }
    listed = [_voc_pair(voc, name, source.instances) for name in train - val]
    return listed + [
        _sbd_pair(voc, sbd, name, source.instances) for name in more - train - val
    ]


def instance_format(source: pairs.Source) -> str:
    """Returns "map": the objects of VOC and SBD do not overlap."""
    del source
    return "map"


def is_sbd(folder: pathlib.Path) -> bool:
    """Returns whether a folder in SBD's archive is the folder of SBD."""
    return (folder / "cls").is_dir() and (folder / "train.txt").is_file()


def _voc_pair(voc, name, instances):
    image = voc / "JPEGImages" / f"{name}.jpg"
    label = voc / "SegmentationClass" / f"{name}.png"
    ids = str(voc / "SegmentationObject" / f"{name}.png") if instances else ""
    return pairs.Pair(name, str(image), str(label), instances=ids)


def _sbd_pair(voc, sbd, name, instances):
    """SBD labels images of VOC, and has copies of them."""
    own = voc / "JPEGImages" / f"{name}.jpg"
    image = own if own.is_file() else sbd / "img" / f"{name}.jpg"
    label, ids = (str(sbd / kind / f"{name}.mat") for kind in ("cls", "inst"))
    return pairs.Pair(name, str(image), label, instances=ids if instances else "")


def read_pair(pair: pairs.Pair) -> pairs.Contents:
    """Reads the files of a pair; of SBD's .mat files, class numbers and instance ids.

    Raises:
        ImageError: A .mat file is not one of SBD's, or instance ids cannot be read.
    """
    contents = pairs.read_files(pair)
    label: bytes | np.ndarray = contents.label
    ids = None
    if pathlib.Path(pair.label).suffix == ".mat":
        label = _read_mat(contents.label, "GTcls", pair.label)
        if pair.instances:
            ids = _read_mat(files.read_bytes(pair.instances), "GTinst", pair.instances)
    elif pair.instances:
        ids = instance_files.read_ids(pair.instances, void=datasets.IGNORE_LABEL)
    instances = None if ids is None else images.encode_label(ids.astype(np.uint16))
    return pairs.Contents(contents.image, label, instances)


def _read_mat(data, variable, name):
    fields = ("Segmentation",)
    groundtruth = mat_files.read_variable(data, variable, name, fields=fields)
    try:
        label = np.asarray(groundtruth[0]["Segmentation"])
    except (TypeError, LookupError) as error:
        raise images.ImageError(
            f"{name} is not a label of SBD, a .mat file with {variable}.Segmentation. "
            "Get the file again."
        ) from error
    if label.ndim != 2 or label.dtype != np.uint8:
        raise images.ImageError(
            f"{name}: {variable}.Segmentation is {label.dtype} {list(label.shape)}, "
            "expected uint8 [height, width]. Get the file again."
        )
    return np.ascontiguousarray(label)
