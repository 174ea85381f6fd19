"""Random access to the records of a split; every checksum is verified."""

import hashlib
import os
import pathlib
import re
import weakref
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kerasseg import datasets, errors
from kerasseg.records import labeled_lists, manifest, schema, shards, watch
from kerasseg.system import processes

_NUMBERED = re.compile(r"-(\d+)-of-(\d+)\.tfrecord$")
_MAX_FAULTS_NAMED = 10
_NUM_THREADS = 8  # They wait for the disk; parsing is fast.


class _Scanned(NamedTuple):
    name: str
    has_label: bool


class Split:
    """The records of one split, as `open_split` returns it.

    Reading is safe from several threads and after a fork.

    Attributes:
        spec: The data set.
        name: Name of the split.
        labeled_list: The images whose labels are used, or None.
        num_unlabeled: Number of records without a label, as dataset.json states it.
    """

    def __init__(
        self,
        spec: datasets.DatasetSpec,
        name: str,
        paths: Sequence[pathlib.Path],
        *,
        labeled_list: labeled_lists.LabeledList | None = None,
        num_unlabeled: int = 0,
    ):
        self.spec = spec
        self.name = name
        self.num_unlabeled = num_unlabeled
        self.labeled_list = labeled_list
        self._labeled: np.ndarray | None = None
        self._scanned: dict[int, _Scanned] | None = None
        self._shard_names = [path.name for path in paths]
        positions = [shards.scan_shard(path) for path in paths]
        self._records = np.concatenate(positions)  # [records, 2]: start and length.
        # Index of the first record of each shard, and the total number of records.
        self._starts = np.cumsum([0] + [len(records) for records in positions])
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

    @property
    def labeled_checksum(self) -> str | None:
        """SHA-256 of the list of labeled images; None if there is none."""
        return None if self.labeled_list is None else self.labeled_list.checksum

    @property
    def labeled(self) -> np.ndarray | None:
        """Indices of the records whose labels are used, sorted, int64; None for all.

        They are those that the list of labeled images names, or without a list, those
        that have a label. Finding them reads every record, once. A damaged record,
        whose name is not known, is one of them if it may be, so that it is an error or
        counted as bad when it is read.

        Raises:
            errors.UserError: The list names images that the records do not have, or
                that have no label, or whose name several records have.
        """
        if self._labeled is None:
            if self.labeled_list is None and not self.num_unlabeled:
                return None
            self._labeled = self._find_labeled()
        return self._labeled

    def _find_labeled(self):
        if self.num_unlabeled == len(self):
            return np.arange(0)
        scanned = self._scan_names()
        with_label = {i: each.name for i, each in scanned.items() if each.has_label}
        damaged = sorted(set(range(len(self))) - scanned.keys())
        if self.labeled_list is None:
            return np.array(sorted([*with_label, *damaged]), np.int64)
        listed = set(self.labeled_list.names)
        found = [i for i, name in with_label.items() if name in listed]
        missing = sorted(listed - set(with_label.values()))
        if len(missing) > len(damaged) or len(found) > len(listed):
            raise errors.UserError(
                f"The list of labeled images ({self.labeled_list.origin}) has "
                f"{len(listed):,} names, and {len(found):,} records of the split "
                f"'{self.name}' with a label have one of them. Not found: "
                f"{', '.join(missing[:_MAX_FAULTS_NAMED]) or 'none'}. Give the list of "
                "these records, or make it again with python -m tfrecords_tools.build."
            )
        return np.array(sorted([*found, *(damaged if missing else [])]), np.int64)

    def _scan_names(self):
        """Returns name and kind of the records that are not damaged, by index."""

        def scan(i):
            try:
                example = schema.parse_example(self.read(i))
            except errors.UserError:
                return None
            return _Scanned(example["name"], example["label"] is not None)

        if self._scanned is None:
            indices = range(len(self))
            scans = processes.in_order(scan, indices, num_threads=_NUM_THREADS)
            self._scanned = {i: each for i, each in enumerate(scans) if each}
        return self._scanned

    def use_list(self, path: str | os.PathLike) -> None:
        """Replaces the list of labeled images by that of a file.

        Args:
            path: See `labeled_lists.read_list`, also for errors.
        """
        has_label = {each.name: each.has_label for each in self._scan_names().values()}
        self.labeled_list = labeled_lists.read_list(
            path,
            [name for name, labeled in has_label.items() if labeled],
            [name for name, labeled in has_label.items() if not labeled],
        )
        self._labeled = None

    def locate(self, i: int) -> str:
        """Returns where record `i` is, as in "<shard>, record <index in it>"."""
        shard = self._shard(i)
        return f"{self._shard_names[shard]}, record {i - self._starts[shard]}"

    def read(self, i: int) -> bytes:
        """Reads record `i`, a serialized `tf.train.Example`.

        Raises:
            IndexError: `i` is out of range; negative indices are not supported.
            RecordError: Its checksum is wrong. The message names shard and record.
        """
        shard = self._shard(i)
        start, length = self._records[i].tolist()
        size = length + shards.FOOTER.size
        with watch.reading(self._shard_names[shard]):
            data = os.pread(self._files[shard], size, start)
        crc = data[length:]
        if len(data) < size:
            fault = f"the file ends after {len(data)} of {size} bytes"
        elif shards.FOOTER.unpack(crc)[0] != shards.masked_crc(data[:length]):
            fault = "the checksum of the data is wrong"
        else:
            return data[:length]
        raise shards.RecordError(f"{self.locate(i)}: {fault}. {shards.COPY_AGAIN}")

    @property
    def sizes(self) -> np.ndarray:
        """Height and width of each image, int64 `[records, 2]`; reads every record.

        Raises:
            RecordError: A record cannot be read. The message names shard and record.
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
                f"Split '{self.name}' of {len(self)} records has no record {i}. "
                f"Indices go from 0 to {len(self) - 1}"
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
    labeled_list: str | os.PathLike | None = None,
) -> Split:
    """Opens the records of one split, after checking that the files are complete.

    Args:
        records_dir: Folder of the records, with dataset.json, or without it if a script
            of TF DeepLab wrote them.
        split: Name of the split, such as "train".
        dataset: Name of the data set. Required without dataset.json; with it, it must
            be the same.
        deep: Whether to read every file once and verify its checksum.
        labeled_list: File with the names of the images whose labels are used, instead
            of the list in dataset.json; see `labeled_lists.read_list`.

    Raises:
        errors.MissingFileError: There are no records of the split, or no such file.
        RecordError: Files are missing, truncated, damaged or unexpected; each is named.
        errors.UserError: The data set is unknown or another one, dataset.json is
            damaged or has another schema version, or the list does not fit.
    """
    folder = pathlib.Path(records_dir)
    if (folder / manifest.INFO_FILE).exists():
        opened = _open_own_split(folder, split, dataset, deep)
    else:
        opened = _open_foreign_split(folder, split, dataset, deep)
    if labeled_list is not None:
        opened.use_list(labeled_list)
    return opened


def _open_own_split(folder, split, dataset, deep):
    info = manifest.read_info(folder)
    _check_dataset(folder, info.spec, dataset)
    _refuse(find_faults(folder, info, split, deep=deep), folder, split)
    paths = [folder / shard.name for shard in info.splits[split]]
    return Split(
        info.spec,
        split,
        paths,
        labeled_list=info.labeled.get(split),
        num_unlabeled=info.num_unlabeled.get(split, 0),
    )


def check_split(records_dir: str | os.PathLike, split: str) -> None:
    """Checks that a folder has the records of a split, without opening them.

    Args:
        records_dir: Folder of the records.
        split: Name of the split.

    Raises:
        errors.MissingFileError: It has neither dataset.json nor files of the split.
        errors.UserError: dataset.json is damaged.
    """
    folder = pathlib.Path(records_dir)
    if (folder / manifest.INFO_FILE).exists():
        _check_known(folder, manifest.read_info(folder), split)
    else:
        _foreign_paths(folder, split)


def _check_known(folder, info, split):
    if split not in info.splits:
        raise errors.MissingFileError(
            f"{folder} has no split '{split}', only {', '.join(sorted(info.splits))}. "
            "Choose one of them, or build it with python -m tfrecords_tools.build."
        )


def _open_foreign_split(folder, split, dataset, deep):
    spec, paths = _foreign_split(folder, split, dataset)
    _refuse(_numbering_faults(paths), folder, split)
    opened = Split(spec, split, paths)
    if not len(opened):
        _refuse(["the files have no records"], folder, split)
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
        f"Split '{split}' in {folder} is incomplete or damaged: {named}{more}. Copy "
        "the files again, or build them again with python -m tfrecords_tools.build"
    )


def find_faults(
    folder: pathlib.Path, info: manifest.DatasetInfo, split: str, *, deep: bool = False
) -> list[str]:
    """Returns how the files of a split differ from dataset.json; see `open_split`.

    Raises:
        errors.MissingFileError: dataset.json does not have the split.
    """
    _check_known(folder, info, split)
    expected = {shard.name for shard in info.splits[split]}
    extra = sorted({path.name for path in shards.find_shards(folder, split)} - expected)
    faults = [_shard_fault(folder, shard, deep) for shard in info.splits[split]]
    faults += [f"{name} is not in {manifest.INFO_FILE}" for name in extra]
    return [fault for fault in faults if fault]


def _shard_fault(folder, shard, deep):
    path = folder / shard.name
    if not path.exists():
        return f"{shard.name} is missing"
    if not path.is_file():
        return f"{shard.name} is not a regular file"
    size = path.stat().st_size
    records, fault = shards.scan_complete_records(path)
    if size != shard.bytes or len(records) != shard.records:
        return (
            f"{shard.name}: expected {shard.records} records in {shard.bytes} bytes, "
            f"found {len(records)} in {size} bytes"
        )
    if fault:
        return fault
    if deep and shards.file_checksum(path) != shard.crc32c:
        return f"{shard.name}: its checksum differs from {manifest.INFO_FILE}"
    return ""


def _check_dataset(folder, spec, dataset):
    if dataset is None:
        return
    if dataset == spec.name and dataset not in datasets.list_datasets():
        return  # A data set of the user, whose classes only the records have.
    expected = datasets.get(dataset)
    if (spec.name, spec.class_names) != (expected.name, expected.class_names):
        raise errors.UserError(
            f"{folder} has records of '{spec.name}' with {spec.num_classes} classes, "
            f"`dataset={dataset}` has {expected.num_classes} classes. Give the data "
            "set of the records, or build them again"
        )


def _foreign_paths(folder, split):
    paths = shards.find_shards(folder, split)
    if not paths:
        raise errors.MissingFileError(
            f"{folder} has no {manifest.INFO_FILE} and no {split}-*.tfrecord. Build "
            f"the records first, with python -m tfrecords_tools.build."
        )
    return paths


def _foreign_split(folder, split, dataset):
    paths = _foreign_paths(folder, split)
    if dataset is None:
        raise errors.UserError(
            f"{folder} has no {manifest.INFO_FILE}, which names the classes. If other "
            "tools wrote the records, give their data set, for example "
            "`dataset=pascal_voc`; if a build was interrupted, run it again"
        )
    return datasets.get(dataset), paths


def _numbering_faults(paths):
    matches = [_NUMBERED.search(path.name) for path in paths]
    numbers = [(int(match[1]), int(match[2])) for match in matches if match]
    faults = []
    totals = sorted({total for _, total in numbers})
    if len(totals) > 1:
        faults.append(f"files of {' and '.join(map(str, totals))} shards are mixed")
    elif totals and len(numbers) != totals[0]:
        present = {i for i, _ in numbers}
        missing = [str(i) for i in range(totals[0]) if i not in present]
        faults.append(f"of {totals[0]} files, {', '.join(missing)} are missing")
    return faults
