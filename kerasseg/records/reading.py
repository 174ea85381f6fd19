"""Random access to the records of a split, with every checksum looked at."""

import hashlib
import os
import pathlib
import re
import weakref

import numpy as np

from kerasseg import datasets, errors
from kerasseg.records import manifest, schema, shards, watch

_NUMBERED = re.compile(r"-(\d+)-of-(\d+)\.tfrecord$")
_MAX_FAULTS_NAMED = 10


class Split:
    """The records of one split; `open_split` makes it.

    Reading is safe from several threads and after a fork.

    Attributes:
        spec: Facts of the data set.
        name: Name of the split.
    """

    def __init__(self, spec: datasets.DatasetSpec, name: str, paths):
        self.spec = spec
        self.name = name
        self._shard_names = [path.name for path in paths]
        found = [shards.scan_shard(path) for path in paths]
        self._records = np.concatenate(found)  # [records, 2]: start and length.
        # The first record number of each shard, and the number of all records.
        self._starts = np.cumsum([0] + [len(records) for records in found])
        self._files = [os.open(path, os.O_RDONLY) for path in paths]
        self._sizes: np.ndarray | None = None
        weakref.finalize(self, _close_all, self._files)

    def __len__(self) -> int:
        return len(self._records)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of class names and the lengths of all records, in order."""
        digest = hashlib.sha256("\n".join(self.spec.class_names).encode())
        digest.update(self._records[:, 1].astype("<i8").tobytes())
        return digest.hexdigest()

    def locate(self, i: int) -> str:
        """Says where record `i` lies, "<shard>, record <number in it>", for errors."""
        shard = self._shard(i)
        return f"{self._shard_names[shard]}, record {i - self._starts[shard]}"

    def read(self, i: int) -> bytes:
        """Reads record `i`, a serialized `tf.train.Example`.

        Raises:
            IndexError: There is no record `i`; negative numbers are none.
            RecordError: Its checksum is wrong; shard and record are named.
        """
        shard = self._shard(i)
        start, length = self._records[i].tolist()
        wanted = length + shards.FOOTER.size
        with watch.reading(self._shard_names[shard]):
            data = os.pread(self._files[shard], wanted, start)
        crc = data[length:]
        if len(data) < wanted:
            fault = f"the file ends after {len(data)} of {wanted} bytes"
        elif shards.FOOTER.unpack(crc)[0] != shards.masked_crc(data[:length]):
            fault = "the data's checksum is wrong"
        else:
            return data[:length]
        raise shards.RecordError(f"{self.locate(i)}: {fault}. {shards.COPY_AGAIN}")

    @property
    def sizes(self) -> np.ndarray:
        """Height and width of each picture, int64 `[records, 2]`; reads every record.

        Raises:
            RecordError: A record cannot be read; shard and record are named.
        """
        if self._sizes is None:
            self._sizes = np.array([self._size(i) for i in range(len(self))])
        return self._sizes

    def _size(self, i):
        try:
            example = schema.parse_example(self.read(i))
        except shards.RecordError:
            raise
        except ValueError as error:
            raise shards.RecordError(f"{self.locate(i)}: {error}") from error
        return example["height"], example["width"]

    def _shard(self, i):
        if not 0 <= i < len(self):
            raise IndexError(
                f"No record {i} in split '{self.name}' of {len(self)} records; "
                f"numbers go from 0 to {len(self) - 1}"
            )
        return int(np.searchsorted(self._starts, i, side="right")) - 1


def _close_all(files):
    for file in files:
        os.close(file)


def open_split(
    records_dir: str | os.PathLike,
    split: str,
    *,
    dataset: str | None = None,
    deep: bool = False,
) -> Split:
    """Opens the records of one split, after checking that all of them are there.

    Args:
        records_dir: Folder of the records, with dataset.json, or without it if a script
            of TF DeepLab wrote them.
        split: Name of the split, such as "train".
        dataset: Name of the data set. Needed where there is no dataset.json; elsewhere
            it must be the name there.
        deep: Also reads every file once and compares its checksum.

    Raises:
        FileNotFoundError: There are no records of that split.
        RecordError: Files are missing, cut, damaged or too many; each is named.
        ValueError: Unknown data set, another data set or another schema version.
    """
    folder = pathlib.Path(records_dir)
    if not (folder / manifest.INFO_FILE).exists():
        return _open_foreign_split(folder, split, dataset, deep)
    info = manifest.read_info(folder)
    _check_dataset(folder, info.spec, dataset)
    _refuse(find_faults(folder, info, split, deep=deep), folder, split)
    paths = [folder / shard.name for shard in info.splits[split]]
    return Split(info.spec, split, paths)


def _open_foreign_split(folder, split, dataset, deep):
    spec, paths = _foreign_split(folder, split, dataset)
    _refuse(_numbering_faults(paths), folder, split)
    opened = Split(spec, split, paths)
    if not len(opened):
        _refuse(["no file has a record"], folder, split)
    for i in range(len(opened) if deep else 0):
        opened.read(i)
    return opened


def _refuse(faults, folder, split):
    if not faults:
        return
    named = "; ".join(faults[:_MAX_FAULTS_NAMED])
    num_more = len(faults) - _MAX_FAULTS_NAMED
    more = f"; and {num_more} more" if num_more > 0 else ""
    raise shards.RecordError(
        f"Split '{split}' in {folder} is not whole: {named}{more}. Copy the files "
        "again or build them again with python -m tfrecords_tools.build"
    )


def find_faults(
    folder: pathlib.Path, info: manifest.DatasetInfo, split: str, *, deep: bool = False
) -> list[str]:
    """Lists how the files of a split differ from dataset.json; see `open_split`.

    Raises:
        FileNotFoundError: dataset.json has no such split.
    """
    if split not in info.splits:
        raise errors.MissingFileError(
            f"{folder} has no split '{split}', only {', '.join(sorted(info.splits))}. "
            "Choose one of them, or build it with python -m tfrecords_tools.build."
        )
    expected = {shard.name for shard in info.splits[split]}
    extra = sorted({path.name for path in shards.find_shards(folder, split)} - expected)
    faults = [_shard_fault(folder, shard, deep) for shard in info.splits[split]]
    faults += [f"{name} is not in {manifest.INFO_FILE}" for name in extra]
    return [fault for fault in faults if fault]


def _shard_fault(folder, shard, deep):
    path = folder / shard.name
    if not path.exists():
        return f"{shard.name} is missing"
    size = path.stat().st_size
    records, fault = shards.scan_whole_records(path)
    if size != shard.bytes or len(records) != shard.records:
        return (
            f"{shard.name}: expected {shard.records} records in {shard.bytes} bytes, "
            f"found {len(records)} in {size} bytes"
        )
    if fault:
        return fault
    if deep and shards.file_checksum(path) != shard.crc32c:
        return f"{shard.name}: its checksum is not the one in {manifest.INFO_FILE}"
    return ""


def _check_dataset(folder, spec, dataset):
    if dataset is None:
        return
    if dataset == spec.name and dataset not in datasets.list_datasets():
        return  # Own pictures: the records alone know their classes.
    wanted = datasets.get(dataset)
    if (spec.name, spec.class_names) != (wanted.name, wanted.class_names):
        raise errors.UserError(
            f"{folder} holds records of '{spec.name}' with {spec.num_classes} classes, "
            f"`dataset={dataset}` has {wanted.num_classes} classes. Name the folder's "
            "own data set, or build the records again"
        )


def _foreign_split(folder, split, dataset):
    paths = shards.find_shards(folder, split)
    if not paths:
        raise errors.MissingFileError(
            f"{folder} has no {manifest.INFO_FILE} and no {split}-*.tfrecord. Write "
            f"the records first, with python -m tfrecords_tools.build."
        )
    if dataset is None:
        raise errors.UserError(
            f"{folder} has no {manifest.INFO_FILE} that names the classes. If other "
            "tools wrote the records, say which data set they are of, for example "
            "`dataset=pascal_voc`; if a build was interrupted, run it again"
        )
    return datasets.get(dataset), paths


def _numbering_faults(paths):
    matches = [_NUMBERED.search(path.name) for path in paths]
    numbers = [(int(match[1]), int(match[2])) for match in matches if match]
    faults = []
    totals = sorted({total for _, total in numbers})
    if len(totals) > 1:
        faults.append(f"files of {' and of '.join(map(str, totals))} are mixed")
    elif totals and len(numbers) != totals[0]:
        there = {i for i, _ in numbers}
        missing = [str(i) for i in range(totals[0]) if i not in there]
        faults.append(f"of {totals[0]} files these are missing: {', '.join(missing)}")
    return faults
