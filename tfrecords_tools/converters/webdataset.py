"""Lists the pairs of WebDataset: tar files of images and masks.

Only headers are read to list them, and the bytes of a pair to build it. No file is
extracted, so that names of members are never paths on the disk.

Source: https://github.com/webdataset/webdataset, "The WebDataset Format".
"""

import dataclasses
import functools
import os
import pathlib
import tarfile

from kerasseg import datasets, errors, images
from tfrecords_tools.converters import pairs, shard_files

_NAME = "webdataset"
_IMAGES = ("jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff")
_MASKS = ("mask.png", "seg.png", "label.png")
_BROKEN = (tarfile.TarError, OSError, ValueError, LookupError, RecursionError, EOFError)


@dataclasses.dataclass
class _Sample:
    """Members of one key: offset and size of each by its extension."""

    members: dict[str, tuple[int, int]]
    fault: str = ""


def make_spec(source: pairs.Source) -> datasets.DatasetSpec:
    """Returns the spec, see `shard_files.make_spec`."""
    return shard_files.make_spec(source, _NAME)


def list_splits(source: pairs.Source) -> list[str]:
    """Lists the splits."""
    return list(shard_files.find(source, _NAME, ".tar"))


def list_pairs(split: str, source: pairs.Source) -> list[pairs.Pair]:
    """Lists the samples of a split, as FILE/KEY.

    A sample is faulty if it has not one image and one mask, or members that are no
    regular files. A tar file that is cut off gives one more faulty pair.

    Raises:
        errors.MissingFileError: There is no tar file.
        errors.UserError: There is no such split.
    """
    found = shard_files.find(source, _NAME, ".tar")
    keeps_unlabeled = bool(source.own and source.own.unlabeled)
    listed = []
    for path in shard_files.of_split(found, split, _NAME):
        samples, _, fault = _index(path)
        stem = pathlib.Path(path).stem
        for key, sample in samples.items():
            pair = pairs.Pair(f"{stem}/{key}", path, path)
            reason = _fault(sample, keeps_unlabeled)
            if reason:
                pair = pairs.faulty(pair, f"{path}: {key} {reason}")
            elif not _having(sample, _MASKS):
                pair = dataclasses.replace(pair, label="")
            listed.append(pair)
        if fault:
            listed.append(pairs.faulty(pairs.Pair(stem, path, path), fault))
    return listed


def find_passed_over(source: pairs.Source) -> tuple[str, ...]:
    """Returns members of samples that are neither image nor mask."""
    found = shard_files.find(source, _NAME, ".tar")
    return tuple(
        f"{path}/{name}"
        for paths in found.values()
        for path in paths
        for name in _index(path)[1]
    )


def read_pair(pair: pairs.Pair) -> pairs.Contents:
    """Reads the image and the mask of a sample.

    Raises:
        ImageError: The sample is faulty.
    """
    if pair.fault:
        raise images.ImageError(pair.fault)
    samples, _, _ = _index(pair.image)
    sample = samples[pair.name.split("/", 1)[1]]
    image = _read(pair.image, *sample.members[_having(sample, _IMAGES)[0]])
    masks = [] if pair.is_unlabeled else _having(sample, _MASKS)
    label = _read(pair.image, *sample.members[masks[0]]) if masks else b""
    return pairs.Contents(image, label)


def _having(sample, extensions):
    return [extension for extension in extensions if extension in sample.members]


def _fault(sample, keeps_unlabeled):
    if sample.fault:
        return sample.fault
    found, masks = _having(sample, _IMAGES), _having(sample, _MASKS)
    if len(found) != 1:
        listed = ", ".join(sample.members)
        return f"has {len(found)} images among {listed}, expected one"
    if len(masks) > 1 or not (masks or keeps_unlabeled):
        expected = " or ".join(_MASKS)
        return f"has {len(masks)} masks, expected one, which ends with {expected}"
    return ""


def _index(path):
    stat = os.stat(path)
    return _scan(path, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=4096)
def _scan(path, _, num_bytes):
    """Returns samples by key, names of other members, and why it is damaged or ""."""
    samples: dict[str, _Sample] = {}
    others: list[str] = []
    try:
        with tarfile.open(path, "r:") as tar:
            for info in tar:
                tar.members = []  # type: ignore[attr-defined]  # Millions take GBs.
                if info.size < 0 or info.offset_data + info.size > num_bytes:
                    raise tarfile.ReadError(
                        f"the header of {info.name!r} states {info.size:,} bytes"
                    )
                if not info.isdir():
                    _add(samples, others, info)
    except _BROKEN as error:
        reason = (
            f"{path} is damaged or cut off ({error}); {len(samples):,} samples were "
            "read before. Get the file again. A compressed tar file must be unpacked "
            "to .tar."
        )
        return samples, others, reason
    return samples, others, ""


def _add(samples, others, info):
    folder, name = os.path.split(info.name)
    stem, _, extension = name.partition(".")
    extension = extension.lower()
    if extension not in (*_IMAGES, *_MASKS):
        others.append(info.name)
        return
    sample = samples.setdefault(os.path.join(folder, stem), _Sample({}))
    if not info.isreg() or info.issparse():
        sample.fault = f"has a {extension} that is a link or no regular file"
    elif info.name.startswith("/") or ".." in folder.split("/"):
        sample.fault = "has a path that leads out of the tar file"
    elif extension in sample.members:
        sample.fault = f"has two members that end with {extension}"
    sample.members[extension] = info.offset_data, info.size


def _read(path, offset, size):
    with open(path, "rb") as file:
        data = os.pread(file.fileno(), size, offset)
    if len(data) < size:
        raise errors.UserError(f"{path} changed while it was read. Build again.")
    return data
