"""Looks at every picture of a split: what is wrong, and how often is each class."""

import collections
import dataclasses
import os
import pathlib
import re
from concurrent import futures

import numpy as np

from kerasseg import datasets, errors, images, records
from kerasseg.pipeline import class_statistics
from kerasseg.system import progress
from tfrecords_tools.converters import pairs
from tfrecords_tools.writing import encoding

_CHUNK = 64  # Records read ahead, so that memory stays small.
_SPLIT_OF_FILE = re.compile(r"(.+?)-\d+-of-\d+\.tfrecord")


@dataclasses.dataclass(frozen=True)
class Pictures:
    """What can be surveyed: a split of records, or the pairs of a source.

    Attributes:
        spec: Facts of the data set.
        split: Name of the split.
        count: Number of pictures.
        read: Function from a number to a serialized `tf.train.Example`.
        locate: Function from a number to what errors call the picture.
    """

    spec: datasets.DatasetSpec
    split: str
    count: int
    read: collections.abc.Callable[[int], bytes]
    locate: collections.abc.Callable[[int], str]


@dataclasses.dataclass(frozen=True)
class Survey:
    """What was found.

    Attributes:
        counts: How often each class occurs.
        sizes: Pictures of each (height, width).
        num_unlabelled: Pictures without a label.
        faults: Texts, one for each bad picture.
    """

    counts: class_statistics.ClassCounts
    sizes: collections.Counter
    num_unlabelled: int
    faults: tuple[str, ...]


def find_records(
    records_dir: str | os.PathLike, dataset: str | None = None
) -> list[Pictures]:
    """Takes every split of a folder of records, after checking its files.

    See `records.open_split` for the arguments.

    Raises:
        FileNotFoundError: There are no records.
        RecordError: Files are missing, cut, damaged or too many; each is named.
        ValueError: Unknown data set, another data set or another schema version.
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
                f"{folder} is not what {records.INFO_FILE} says: "
                f"{'; '.join(dict.fromkeys(faults))}. Copy the files again or build "
                "them again with python -m tfrecords_tools.build"
            )
        splits = list(info.splits)
    else:
        matches = [_SPLIT_OF_FILE.match(name) for name in files]
        splits = sorted({match[1] for match in matches if match}) or ["train"]
    opened = [records.open_split(folder, split, dataset=dataset) for split in splits]
    return [
        Pictures(split.spec, split.name, len(split), split.read, split.locate)
        for split in opened
    ]


def find_source(
    dataset: str, source: pairs.Source, rules: encoding.Rules | None = None
) -> list[Pictures]:
    """Takes every split that a source has, each pair as the record it would become.

    Args:
        dataset: Name of the data set.
        source: Where its pictures are.
        rules: What a pair must fulfil; the defaults if None.

    Raises:
        FileNotFoundError: The source has no split.
        ValueError: Unknown data set.
    """
    found = pairs.find_splits(dataset, source)
    there = [split for split, reason in found.items() if not reason]
    rules = rules or encoding.Rules()
    return [_of_source(dataset, split, source, rules) for split in there]


def _of_source(dataset, split, source, rules):
    spec, converter = pairs.facts(dataset, source), pairs.converter(dataset)
    listed = sorted(converter.list_pairs(split, source))
    read_pair = getattr(converter, "read_pair", pairs.read_files)

    def read(i):
        return encoding.encode_pair(listed[i], read_pair(listed[i]), spec, rules)

    return Pictures(spec, split, len(listed), read, lambda i: listed[i].name)


def look_at(pictures: Pictures, i: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Reads one picture and its label.

    Returns:
        RGB uint8 `[height, width, 3]`, and class numbers uint8 `[height, width]` or
        None.

    Raises:
        ValueError: It cannot be read, picture and label differ in size, or the label
            holds unknown numbers.
    """
    example = records.parse_example(pictures.read(i))
    name = example["name"]
    image = images.read_image(example["image"], apply_exif=False, name=name)
    if example["label"] is None:
        return image, None
    label = records.decode_label(example["label"])
    if label.shape != image.shape[:2]:
        raise errors.UserError(
            f"picture '{name}' is {image.shape[:2]}, its label {label.shape} (height, "
            "width). Build the records again from a label as large as the picture"
        )
    known = [*range(pictures.spec.num_classes), datasets.IGNORE_LABEL]
    unknown = np.setdiff1d(label, known)
    if unknown.size:
        raise errors.UserError(
            f"picture '{name}' has labels {unknown.tolist()}, {pictures.spec.name} has "
            f"0 to {pictures.spec.num_classes - 1} and {datasets.IGNORE_LABEL}. Name "
            "the right `dataset`, or build the records again"
        )
    return image, label


def survey(pictures: Pictures) -> Survey:
    """Looks at all pictures with every core; bad ones are listed, not raised."""
    sizes: collections.Counter = collections.Counter()
    faults: list[str] = []
    num_unlabelled = 0

    def labels():
        nonlocal num_unlabelled
        for fault, size, label in _looks(pictures):
            if fault:
                faults.append(fault)
                continue
            sizes[size] += 1
            if label is None:
                num_unlabelled += 1
            else:
                yield label

    counts = class_statistics.count_classes(labels(), pictures.spec.num_classes)
    return Survey(counts, sizes, num_unlabelled, tuple(faults))


def _looks(pictures):
    """Yields the fault, the size and the label of each picture, in order."""

    def look(i):
        try:
            image, label = look_at(pictures, i)
        except (ValueError, OSError) as error:
            return f"{pictures.locate(i)}: {error}", None, None
        return "", image.shape[:2], label

    with (
        futures.ThreadPoolExecutor() as pool,
        progress.track(pictures.count, unit="picture", text=pictures.split) as bar,
    ):
        for start in range(0, pictures.count, _CHUNK):
            end = min(start + _CHUNK, pictures.count)
            for found in pool.map(look, range(start, end)):
                bar.update()
                yield found
