"""Opens the splits of a folder of records, or of a data set before it is built."""

import dataclasses
import functools
import os
import pathlib
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from kerasseg import datasets, errors, images, records
from kerasseg.images import bit_masks
from tfrecords_tools.converters import pairs, registry
from tfrecords_tools.doctor import object_counts
from tfrecords_tools.writing import encoding, image_kinds

_SPLIT_OF_FILE = re.compile(r"(.+?)-\d+-of-\d+\.tfrecord")


@dataclasses.dataclass(frozen=True)
class SplitReader:
    """A split of records, or the pairs of a split of a source.

    Attributes:
        spec: Spec of the data set.
        split: Name of the split.
        count: Number of images.
        get: Function from an index to a serialized `tf.train.Example`, or to a pair.
        encode: Function from what `get` returns to a serialized example; it can be
            pickled.
        locate: Function from an index to a name for error messages.
        max_pixels: Largest number of pixels of an image.
    """

    spec: datasets.DatasetSpec
    split: str
    count: int
    get: Callable[[int], Any]
    encode: Callable[[Any], bytes]
    locate: Callable[[int], str]
    max_pixels: int = images.DEFAULT_MAX_PIXELS

    def decode(self, i: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Reads an image and its label.

        Returns:
            The image, RGB uint8 `[height, width, 3]` or of `spec.image_kind`, and class
            numbers uint8 `[height, width]` or None.

        Raises:
            errors.UserError: It cannot be read, image and label differ in size, or the
                label holds unknown class numbers.
        """
        example = records.parse_example(self.encode(self.get(i)))
        return _decode(self.spec, example)


def read_label(
    spec: datasets.DatasetSpec, encode: Callable[[Any], bytes], item: Any
) -> tuple[
    tuple[int, int], np.ndarray | None, object_counts.ObjectCounts, records.Summary
]:
    """Reads an item of a `SplitReader`.

    Returns:
        Its height and width, its label, the counts of its instances, and a summary of
        its channels.

    Raises:
        errors.UserError: See `SplitReader.decode` and `object_counts.count`.
    """
    example = records.parse_example(encode(item))
    image, label = _decode(spec, example)
    counts = object_counts.count(example, label, spec)
    return image.shape[:2], label, counts, records.summarize(image, label)


def _decode(spec, example):
    name = example["name"]
    image = images.read_of_kind(
        example["image"], spec.image_kind, apply_exif=False, name=name
    ).pixels
    if example["label"] is None:
        return image, None
    label = records.decode_label(example["label"], multi_label=spec.multi_label)
    if label.shape != image.shape[:2]:
        raise errors.UserError(
            f"image '{name}' is {image.shape[:2]}, its label {label.shape} (height, "
            "width). Build the records again with a label of the size of the image."
        )
    if spec.multi_label:
        bit_masks.check(label, spec.num_classes, name=f"image '{name}'")
        return image, label
    known = [*range(spec.num_classes), datasets.IGNORE_LABEL]
    unknown = np.setdiff1d(label, known)
    if unknown.size:
        raise errors.UserError(
            f"image '{name}' has labels {unknown.tolist()}, but {spec.name} has 0 to "
            f"{spec.num_classes - 1} and {datasets.IGNORE_LABEL}. Give the right "
            "`dataset`, or build the records again."
        )
    return image, label


def open_records(
    records_dir: str | os.PathLike, dataset: str | None = None
) -> list[SplitReader]:
    """Opens every split of a folder of records, after checking its files.

    Args:
        records_dir: Folder of the records.
        dataset: Name of the data set; needed if there is no dataset.json.

    Raises:
        errors.MissingFileError: There are no records.
        RecordError: Files are missing, truncated, damaged or not listed; each is named.
        errors.UserError: The data set is unknown or another one, or the schema version
            is.
    """
    folder = pathlib.Path(records_dir)
    files = sorted(path.name for path in folder.glob("*.tfrecord*"))
    if (folder / records.INFO_FILE).exists():
        info = records.read_info(folder)
        faults = [
            fault
            for split in info.splits
            for fault in records.find_faults(folder, info, split, deep=True)
        ]
        listed = {shard.name for split in info.splits.values() for shard in split}
        unlisted = [name for name in files if name not in listed]
        faults += [f"{name} is not in {records.INFO_FILE}" for name in unlisted]
        if faults:
            raise records.RecordError(
                f"{folder} does not match its {records.INFO_FILE}: "
                f"{'; '.join(dict.fromkeys(faults))}. Copy the files again, or build "
                "them again with python -m tfrecords_tools.build."
            )
        splits = list(info.splits)
    else:
        matches = [_SPLIT_OF_FILE.match(name) for name in files]
        splits = sorted({match[1] for match in matches if match}) or ["train"]
    opened = [records.open_split(folder, split, dataset=dataset) for split in splits]
    return [
        SplitReader(split.spec, split.name, len(split), split.read, bytes, split.locate)
        for split in opened
    ]


def open_source(
    dataset: str, source: pairs.Source, rules: encoding.Rules | None = None
) -> list[SplitReader]:
    """Opens every split that a source has; each pair is read as the record it becomes.

    Args:
        dataset: Name of the data set.
        source: Where its images are.
        rules: How images and labels are read; None for the defaults.

    Raises:
        errors.MissingFileError: The source has no split.
        errors.UserError: The data set is unknown.
    """
    reasons = registry.find_splits(dataset, source)
    available = [split for split, reason in reasons.items() if not reason]
    rules = rules or encoding.Rules()
    kind = image_kinds.find(dataset, source, available, rules)
    spec = dataclasses.replace(registry.get_spec(dataset, source), image_kind=kind)
    return [_open_source_split(spec, split, source, rules) for split in available]


def _open_source_split(spec, split, source, rules):
    converter = registry.converter(spec.name)
    listed = sorted(converter.list_pairs(split, source))
    encode = functools.partial(_encode, spec, rules)
    return SplitReader(
        spec,
        split,
        len(listed),
        listed.__getitem__,
        encode,
        lambda i: listed[i].name,
        rules.max_pixels,
    )


def _encode(spec, rules, pair):
    """Encodes a pair as the build does."""
    encoding.check_size(pair, rules)
    read_pair = getattr(registry.converter(spec.name), "read_pair", pairs.read_files)
    return encoding.encode_pair(pair, read_pair(pair), spec, rules)
